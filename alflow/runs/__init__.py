"""The run directory: its layout, lock, records, events and status."""
