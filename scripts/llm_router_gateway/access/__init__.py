"""Authentication: credentials, keys and sessions; and whether a browser was tricked."""
