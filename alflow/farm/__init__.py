"""The driver: many labels. Frames are cut into tasks, lost ones isolated, and what comes back collected."""
