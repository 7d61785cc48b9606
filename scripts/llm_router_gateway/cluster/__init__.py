"""One gateway in several processes on one machine: a home that owns what is written, workers that answer model calls."""
