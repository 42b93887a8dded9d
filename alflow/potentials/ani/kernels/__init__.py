"""Compiled code of the ANI potentials: arrays in, arrays out."""
