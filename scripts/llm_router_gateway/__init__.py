"""llm-router's gateway: three protocols in, three out, one process, standard library only.

Start it with `python3 scripts/llm_router_gateway` (see `--help`, or references/gateway.md).
The layers, lowest first: errors; ir, sse, http1, jq; config, wire, keys, limits; policy, groups; store, upstream; job;
gateway, monitor, admin; server; serving; cli. A module imports only lower layers (tests/gateway/test_layers.py).
"""

PROGRAM = "llm-router-gateway"
__version__ = "1.0.0"
