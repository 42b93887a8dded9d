"""Coordinates that a trajectory is steered along: one module a kind."""
