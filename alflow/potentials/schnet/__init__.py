"""SchNet potentials: torch_geometric's network, with filters from a spline and a compiled route for trajectories."""
