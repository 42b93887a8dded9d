"""Label engines: one protocol, one module an engine."""
