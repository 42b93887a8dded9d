"""Report and figures of finished runs: barriers, errors, pictures."""
