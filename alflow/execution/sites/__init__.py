"""Site files: find one, show its options, turn option strings into a Parsl configuration.

A site file is a Python file with ``make_config(run_dir, **options) -> parsl.Config``. Its options are keyword-only
arguments; their annotations say how a string from the command line is read, their defaults what a campaign gets
without them.
"""

from alflow.execution.sites.capacity import Capacity, site_capacity
from alflow.execution.sites.files import SiteDescription, SiteOption, describe_site, find_site, list_sites
from alflow.execution.sites.load import EXECUTOR_LABELS, load_site
from alflow.execution.sites.options import parse_option_pairs, read_value

__all__ = [
    "EXECUTOR_LABELS",
    "Capacity",
    "SiteDescription",
    "SiteOption",
    "describe_site",
    "find_site",
    "list_sites",
    "load_site",
    "parse_option_pairs",
    "read_value",
    "site_capacity",
]
