"""The protocols, one folder each, none importing another; beside them what all of them must do alike.

A protocol's folder has: KEEPALIVE, read_request, write_request, read_answer, write_answer, usage_in, read_error, write_error,
error_event, write_count, Scanner, StreamReader, StreamWriter.
"""
