"""The kinds of label engine: their settings, and what makes one. No heavy library is imported before one is made."""
