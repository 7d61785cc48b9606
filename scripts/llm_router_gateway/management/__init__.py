"""The HTTP API about the gateway itself, and the monitor page."""
