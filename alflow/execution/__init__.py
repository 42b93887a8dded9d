"""The driver: all that knows Parsl. Sites, the graph of tasks, monitoring, worker pools, cleaning up."""
