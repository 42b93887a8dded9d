"""The command ``alflow``: parses, calls one function, prints.

Heavy modules are imported by the command that needs them, so that ``--help`` stays quick.
"""

from __future__ import annotations

import sys

import typer

from alflow.cli import allocation, bench, campaign, config, evaluate, label, ledger, plugins, report, site, status
from alflow.cli.ending import Ending, SentenceGroup, sentences, tolerant_streams
from alflow.files.caches import settle_caches
from alflow.files.home import settle_home

app = typer.Typer(
    name="alflow",
    cls=SentenceGroup,
    help="Active learning of neural network potentials for rare events, on Parsl.",
    epilog="Example: alflow run configs/quickstart.toml --site local",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
config.add_to(app)
plugins.add_to(app)
campaign.add_to(app)
allocation.add_to(app)
status.add_to(app)
label.add_to(app)
evaluate.add_to(app)
ledger.add_to(app)
site.add_to(app)
bench.add_to(app)
report.add_to(app)


def main() -> None:
    """Run the command line; what the user got wrong is a sentence and exit code 2."""
    tolerant_streams()
    settle_home()
    settle_caches()
    try:
        with sentences():
            code = _run()
            sys.stdout.flush()
    except Ending as ending:
        for line in str(ending).splitlines():
            typer.echo(f"alflow: {line}", err=True)
        code = ending.code
    sys.exit(code)


def _run() -> int:
    try:
        app()
    except SystemExit as end:
        return int(end.code or 0)
    return 0
