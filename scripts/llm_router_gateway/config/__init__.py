"""Settings: TOML -> one immutable Config, every problem with its path."""
