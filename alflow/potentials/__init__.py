"""Neural network potentials: one protocol, one package a kind."""
