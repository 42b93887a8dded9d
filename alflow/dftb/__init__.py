"""Embedded molecular DFTB3."""
