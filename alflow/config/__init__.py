"""Settings of a campaign: frozen, unknown keys refused, units in names."""
