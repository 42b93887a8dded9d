"""Files: written whole or not at all, checked before the work, found by name."""
