"""Header names that carry credentials, on any protocol's way in."""

from __future__ import annotations

CREDENTIAL_HEADERS = ("x-api-key", "x-goog-api-key")
# What a caller's credential may stand in: none of it is ever passed on.
PRIVATE_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", *CREDENTIAL_HEADERS})
