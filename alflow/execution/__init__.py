"""The driver's side of Parsl, and all that knows it: sites, the graph of tasks, monitoring, worker pools, cleaning up."""
