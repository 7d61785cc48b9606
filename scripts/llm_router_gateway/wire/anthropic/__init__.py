"""Anthropic Messages: `spec` has its facts, `codec` its functions."""
