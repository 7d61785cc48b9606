"""What stands behind the seams of limits and budgets."""
