"""What a guest brings to alflow: one module a kind."""
