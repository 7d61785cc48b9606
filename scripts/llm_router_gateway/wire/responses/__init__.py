"""OpenAI Responses <-> ir: what Codex speaks alone, and most agent frameworks by default.

`spec` has its facts, `codec` its functions:
request_reader, answer, stream_writer serve callers; request_writer, answer, stream_reader serve upstreams; stream_scanner looks
at what is relayed. state unfolds what the gateway kept of earlier turns, seal makes texts that callers bring back unchanged.
"""
