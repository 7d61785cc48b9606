"""The selector language: jq's programs, compiled to Python functions, with a budget of steps."""
