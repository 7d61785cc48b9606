"""OpenAI chat completions: `spec` has its facts, `codec` its functions."""
