"""Training of ANI potentials: batches, passes, schedules, checkpoints."""
