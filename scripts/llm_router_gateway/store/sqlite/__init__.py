"""The log of calls in a SQLite file: its schema, its writer, its queries, what is removed and when."""
