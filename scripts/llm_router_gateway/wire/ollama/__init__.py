"""Ollama's own API (/api/chat, /api/generate, /api/tags, ...): for callers alone, so that OLLAMA_HOST may point here.

A stream is one JSON object a line, no server-sent events. Shapes are those of ollama's Python and JavaScript clients; comments
name what each of its clients cannot do without.
"""
