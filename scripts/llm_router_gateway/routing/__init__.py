"""Which member answers: names and groups -> an order of members, from a snapshot of the configuration."""
