"""What outlives a restart: calls with their costs and sums, keys, conversations, whose files are; in SQLite or PostgreSQL."""
