"""What active learning decides: pure functions on arrays."""
