"""Worker processes: tasks, the models that they make, the self-test, heartbeats."""
