"""Certify a site before any allocation is spent on science. Empty: workers import from here."""
