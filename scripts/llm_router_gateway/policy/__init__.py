"""Pure policy: rate limits, budgets, parameter limits, circuit breaker, overrides, tag queries."""
