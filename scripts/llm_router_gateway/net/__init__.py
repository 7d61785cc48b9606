"""Bytes: HTTP/1.1 as server and as client, routes from method and path to handlers, deadlines."""
