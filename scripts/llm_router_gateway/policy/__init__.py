"""Pure arithmetic: rate limits, budgets, bounds of parameters, circuit breaker, overrides, queries for tags."""
