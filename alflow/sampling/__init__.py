"""Molecular dynamics and steered molecular dynamics, run by LAMMPS."""
