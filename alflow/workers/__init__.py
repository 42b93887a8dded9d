"""What runs in a worker process: tasks, the models that they make, the self-test, signs of life."""
