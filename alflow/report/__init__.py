"""What is drawn from finished runs: barriers, errors, figures, the report."""
