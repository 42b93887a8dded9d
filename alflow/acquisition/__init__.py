"""Decisions of the loop: uncertainty, selection, augmentation, splits, stopping. Pure functions on arrays."""
