"""The implementations of the Limiter and Budgets interfaces."""
