"""OpenTelemetry: spans and metrics of calls, their encodings, and their way to a collector."""
