"""The log of calls, the keys and what replicas know of each other in PostgreSQL, for gateways on many machines."""
