"""OpenAI Responses <-> ir: what Codex speaks alone, and most agent frameworks by default.

request_reader, answer, stream_writer serve callers; request_writer, answer, stream_reader serve upstreams; stream_scanner looks
at what is relayed. state unfolds what the gateway kept of earlier turns, seal makes texts that callers bring back unchanged.
"""

from ..error_bodies import read_error, write_error
from .answer import read_answer, write_answer
from .common import KEEPALIVE, error_event, usage_in, write_count
from .outputs import REASON
from .request_reader import read_request
from .request_writer import write_request
from .stream_reader import StreamReader
from .stream_scanner import Scanner
from .stream_writer import StreamWriter

__all__ = [
    "KEEPALIVE", "REASON", "Scanner", "StreamReader", "StreamWriter", "error_event", "read_answer", "read_error",
    "read_request",
    "usage_in", "write_answer", "write_count", "write_error", "write_request",
]  # fmt: skip
