"""llm-router's gateway: clients of six protocols in front of providers of four, in one process or several.

Start it with `python3 scripts/llm_router_gateway` (see `--help`, or references/gateway.md). It needs the standard library only.

Every folder is a room, lowest first. A module imports its own room and lower ones (tests/gateway/test_rooms.py):

    errors, jq          what went wrong, in no vendor's shape; the selector language
    json_body, net      a JSON body that keeps its bytes; HTTP/1.1 as server and client, routes to handlers
    wire                the protocols, one folder each, around the neutral values of `ir`
    policy              limits, budgets, circuit breaker, overrides: arithmetic without a clock
    config              TOML -> one immutable Config
    limiter             limits, slots and budgets in use, in one process or shared by several
    store               what outlives a restart: calls, keys, conversations; and what calls cost
    telemetry           spans and metrics for OpenTelemetry
    routing             which member answers
    access              authentication
    management          the HTTP API about the gateway, and the monitor page
    proxy               one request's life
    cluster             one gateway in several processes
    commands            what people type
"""

PROGRAM = "llm-router-gateway"
__version__ = "1.0.0"
