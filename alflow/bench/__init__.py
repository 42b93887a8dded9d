"""The labelling benchmark that people run before they spend an allocation. Empty: workers import from here."""
