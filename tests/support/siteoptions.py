"""Options that each site needs."""

ENDPOINT = "0b0e1a1e-0000-4000-8000-000000000001"
GIVEN = {
    "local": {},
    "workstation": {"gpus": "0,1"},
    "slurm": {"partition": "cpu", "cores_per_node": "8"},
    "hybrid": {
        "cpu_partition": "cpu",
        "cores_per_node": "8",
        "gpu_partition": "gpu",
        "gpu_cores_per_node": "16",
        "gpus_per_node": "2",
    },
    "perlmutter": {"account": "m1234"},
    "frontier": {"account": "abc123"},
    "polaris": {"account": "abc123"},
    "aurora": {"account": "abc123"},
    "pbs": {"queue": "workq", "cores_per_node": "32"},
    "kubernetes": {"image": "alflow:0.1", "volume": "campaigns:/campaigns"},
    "globus": {"endpoints": ENDPOINT},
}
