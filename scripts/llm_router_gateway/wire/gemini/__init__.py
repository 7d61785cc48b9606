"""Gemini's generateContent: `spec` has its facts, `codec` its functions."""
