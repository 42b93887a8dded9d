"""MACE potentials: networks, loss and training steps of the library mace-torch."""
