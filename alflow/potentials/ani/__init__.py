"""ANI potentials: descriptors, networks, ensembles, and their exchange with TorchANI."""
