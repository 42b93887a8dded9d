"""Neural network potentials: one protocol, one package a kind."""

from alflow.potentials.kinds import join_files, load_potential, train_potential

__all__ = ["join_files", "load_potential", "train_potential"]
