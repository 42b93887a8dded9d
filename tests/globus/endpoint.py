"""Run the engine of a real endpoint: endpoint.py BROKER ENDPOINT FOLDER. SIGTERM ends it."""

import logging
import os
import sys
import sysconfig
from pathlib import Path

from globus_compute_endpoint.endpoint.config import UserEndpointConfig
from globus_compute_endpoint.endpoint.interchange import EndpointInterchange
from globus_compute_endpoint.engines import GlobusComputeEngine
from parsl.providers import LocalProvider
from web_service import credentials


def main():
    broker, endpoint, folder = sys.argv[1:]
    os.chdir(folder)
    os.environ["PATH"] = f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"  # its interchange is started by name
    logging.basicConfig(filename="endpoint.log", level=logging.INFO)
    lines = f"export PATH={sysconfig.get_path('scripts')}:$PATH OMP_NUM_THREADS=1"
    engine = GlobusComputeEngine(
        label="engine",
        address="127.0.0.1",
        max_workers_per_node=1,
        cores_per_worker=1e-6,
        provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1, worker_init=lines),
    )
    EndpointInterchange(
        config=UserEndpointConfig(engine=engine),
        cred_fn=lambda: credentials(broker, endpoint),
        ep_info={},
        logdir=folder,
        endpoint_id=endpoint,
        endpoint_dir=Path(folder),
    ).start()


if __name__ == "__main__":
    main()
