"""The command ``alflow``: parses, calls one function, prints.

Heavy modules are imported by the command that needs them, so that ``--help`` stays quick.
"""

from __future__ import annotations

import sys

import typer

from alflow.cli import bench, campaign, config, evaluate, label, ledger, report, site, status
from alflow.errors import AlflowError, CampaignError

app = typer.Typer(
    name="alflow",
    help="Active learning of neural network potentials for rare events, on Parsl.",
    epilog="Example: alflow run configs/quickstart.toml --site local",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
config.add_to(app)
campaign.add_to(app)
status.add_to(app)
label.add_to(app)
evaluate.add_to(app)
ledger.add_to(app)
site.add_to(app)
bench.add_to(app)
report.add_to(app)


def main() -> None:
    """Run the command line; what the user got wrong is a sentence and exit code 2."""
    try:
        app()
    except CampaignError as error:
        fail(str(error), 1)
    except AlflowError as error:
        fail(str(error), 2)
    except KeyboardInterrupt:
        fail("interrupted", 130)
    except BrokenPipeError:
        sys.exit(0)


def fail(message: str, code: int) -> None:
    """Print an error and end."""
    for line in message.splitlines():
        typer.echo(f"alflow: {line}", err=True)
    sys.exit(code)
