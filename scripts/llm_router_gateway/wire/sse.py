"""The only door to the client file: its server-sent event and their parser, and nothing else.

SSEParser().feed(b'data: {"a":1}\\n\\n')  ->  [Event("message", '{"a":1}')]
"""

from llm_router_client import Event, SSEParser

__all__ = ["Event", "SSEParser"]
