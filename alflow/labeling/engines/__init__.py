"""One module a label engine, with its settings."""
