"""``alflow config``: look at settings without running anything."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from alflow.files.resources import find_campaign

CampaignFile = Annotated[str, typer.Argument(help="Campaign file (TOML), or the name of one that comes with alflow.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override a setting: --set training.epochs=40. May be repeated.")
]


def add_to(app: typer.Typer) -> None:
    """Add the group to the application."""
    group = typer.Typer(help="Look at the settings of a campaign.", no_args_is_help=True, rich_markup_mode=None)
    group.command("show", epilog="Example: alflow config show configs/quickstart.toml")(show)
    group.command("schema", epilog="Example: alflow config schema > campaign.schema.json")(schema)
    app.add_typer(group, name="config")


def show(campaign: CampaignFile, overrides: Overrides = None) -> None:
    """Print the resolved campaign: every setting with its value, defaults included."""
    from alflow.config.load import load_campaign, to_toml

    typer.echo(to_toml(load_campaign(find_campaign(campaign), overrides or ())), nl=False)


def schema() -> None:
    """Print the JSON schema of a campaign file: every key, its type, its rule, its description."""
    from alflow.config.campaign import CampaignSettings

    typer.echo(json.dumps(CampaignSettings.model_json_schema(), indent=2))
