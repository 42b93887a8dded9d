"""Trajectories by LAMMPS: molecular dynamics, and pulls in segments that join without a seam."""
