"""What outlives a restart: the log of calls, with its prices and sums."""
