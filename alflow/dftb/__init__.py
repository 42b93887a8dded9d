"""Embedded molecular DFTB3."""

from alflow.files.caches import settle_caches

settle_caches()  # before the first kernel is compiled
