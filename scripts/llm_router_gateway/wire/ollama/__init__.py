"""Ollama's own API (/api/chat, /api/generate, /api/tags, ...): for callers alone, so that OLLAMA_HOST may point here.

A stream is one JSON object a line, no server-sent events. Shapes are those of ollama's Python and JavaScript clients; what each
of its clients cannot do without stands where it is written.
"""

from .answer import KEEPALIVE, REASON, error_event, usage_in, write_answer, write_count, write_error
from .listing import embeddings_request, show, tags, version, write_embeddings
from .request_reader import read_request
from .stream_writer import StreamWriter

__all__ = [
    "KEEPALIVE", "REASON", "StreamWriter", "embeddings_request", "error_event", "read_request", "show", "tags", "usage_in",
    "version",
    "write_answer", "write_count", "write_embeddings", "write_error",
]  # fmt: skip
