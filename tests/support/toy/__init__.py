"""A protocol that nobody speaks: {"model", "say", "longest", "stream"} in, {"said", "why", "spent"} out."""
