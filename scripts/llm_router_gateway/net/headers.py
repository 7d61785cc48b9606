"""Names of headers that carry credentials, in whatever protocol."""

from __future__ import annotations

CREDENTIAL_HEADERS = ("x-api-key", "x-goog-api-key")
# What a caller's credential may stand in: none of it is ever passed on.
PRIVATE_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", *CREDENTIAL_HEADERS})
