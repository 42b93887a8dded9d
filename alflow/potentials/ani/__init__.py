"""ANI potentials with compiled descriptors."""
