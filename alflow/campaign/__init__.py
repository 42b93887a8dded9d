"""The driver: what a campaign does next. `loop` is the loop; beside it are its plan and stages."""
