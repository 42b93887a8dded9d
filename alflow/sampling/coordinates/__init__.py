"""What a trajectory is steered along: one module a kind of coordinate."""
