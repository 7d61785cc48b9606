"""POST /v1/completions, OpenAI's older text completions: for callers alone. Upstreams that speak it get it relayed.

    {"prompt": "Once"}  -> Request("m", (Message("user", (Text("Once"),)),))  for an upstream that knows only chats
    ir.Answer           -> {"object": "text_completion", "choices": [{"text": " upon a time", ...}]}

What a chat cannot do (`suffix`, `echo`, log probabilities, prompts of token numbers, several prompts) is refused with a reason,
for the text would be another one. Errors and usage are those of chat completions.
"""

from ..error_bodies import read_error, write_error
from .answer import REASON, error_event, usage_in, write_answer, write_count
from .request_reader import only_upstream, read_request
from .stream_scanner import Scanner
from .stream_writer import KEEPALIVE, StreamWriter

__all__ = [
    "KEEPALIVE", "REASON", "Scanner", "StreamWriter", "error_event", "only_upstream", "read_error", "read_request", "usage_in",
    "write_answer", "write_count", "write_error",
]  # fmt: skip
