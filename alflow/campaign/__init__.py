"""The driver: what a campaign does next. The loop is `loop`; the other modules are its plan, its stages and its judgement."""
