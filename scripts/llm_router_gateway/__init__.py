"""llm-router's gateway: every protocol in, every one out, one process, standard library only.

Start it with `python3 scripts/llm_router_gateway` (see `--help`, or references/gateway.md).

Every folder is a room, lowest first. A module imports its own room and lower ones (tests/gateway/test_rooms.py):

    errors, jq          what went wrong, in no vendor's shape; the selector language
    net, json_body      HTTP/1.1 as server and client, routes to handlers; a JSON body that keeps its bytes
    wire                the protocols, one folder each, around the neutral values of `ir`
    policy              limits, budgets, circuit breaker, overrides: arithmetic without a clock
    store               the log of calls, and what calls cost
    config              TOML -> one immutable Config
    routing             which member answers
    access              authentication
    management          the HTTP API about the gateway, and the monitor page
    proxy               one request's life
    commands            what people type
"""

PROGRAM = "llm-router-gateway"
__version__ = "1.0.0"
