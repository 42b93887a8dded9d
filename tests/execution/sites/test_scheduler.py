"""What a driver that is itself a job hands to the jobs that it submits."""

import os

from alflow.execution.sites.scheduler import forget_own_job


def test_variables_of_the_own_job_are_not_handed_on(monkeypatch):
    kept = {"SLURM_CONF": "/etc/slurm.conf", "SBATCH_ACCOUNT": "abc123", "PATH_TO_SLURM_THINGS": "x"}
    for name, value in {**kept, "SLURM_MEM_PER_NODE": "8192", "SLURM_JOB_ID": "7"}.items():
        monkeypatch.setenv(name, value)
    forget_own_job()
    assert {name: value for name, value in os.environ.items() if "SLURM" in name or name in kept} == kept
