"""A server of the standard library on loopback, in a thread, for as long as a block runs.

with serving(Handler) as server:
    server.server_port
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Iterator, Type


@contextmanager
def serving(handler: Type[BaseHTTPRequestHandler]) -> Iterator[Any]:
    """The server, whose attributes the handler may use as it likes."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
