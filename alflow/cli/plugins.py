"""``alflow plugins``: the kinds of engines, potentials, coordinates and file formats that are found here."""

from __future__ import annotations

import typer

from alflow.cli.terminal import terminal


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Example: alflow plugins")(plugins)


def plugins() -> None:
    """Print every kind by name, where it comes from, and what keeps it from being used here."""
    from alflow.config.plugins import GROUPS, find_installed
    from alflow.config.plugins import plugins as offered
    from alflow.display.tables import Sheet
    from alflow.errors import PluginError

    table = Sheet(("kind of", "name", "from", "can be used"), ruled=False)
    for group, what in GROUPS.items():
        for plugin in offered(group):
            trouble = "yes"
            try:
                find_installed(group, plugin.name)
            except PluginError as error:
                trouble = f"no: {error}"
            table.add(what, plugin.name, plugin.distribution, trouble)
    terminal().print(table)
