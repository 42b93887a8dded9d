"""alflow: active learning of neural network potentials for rare events, as a task graph on Parsl."""

__version__ = "0.1.0"
