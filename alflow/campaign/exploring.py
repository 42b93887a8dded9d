"""The campaign of a base, run ahead of the one that starts from it: same driver, same workers, a folder of its own."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from alflow.campaign.basetheory import Base
from alflow.campaign.campaign import Campaign
from alflow.campaign.loop import run_campaign
from alflow.campaign.ticker import Ticker
from alflow.display.view import View
from alflow.farm.farm import LabelFarm
from alflow.ledger import Ledger
from alflow.runs.directory import RunDirectory
from alflow.runs.events import EventLog
from alflow.runs.lock import RunLock
from alflow.runs.startdata import StartFolder


def explore(campaign: Campaign, ticker: Ticker, committed: Callable[[RunDirectory], None]) -> None:
    """Run, or go on with, the campaign of the base, where it is part of this one and still needed.

    Args:
        campaign: the one that starts from it.
        ticker: shows it, and writes its status, meanwhile.
        committed: called after each of its iterations.

    Raises:
        CampaignError: it cannot go on; what is committed stays.
    """
    base = campaign.base
    if base is None or not base.explores or StartFolder.of(campaign.run).base_structures.exists():
        return
    campaign.say(f"{base.settings.labels.engine} explores first, in {base.run.path}.")
    with RunLock(base.run.path, campaign.say):
        structure = base.settings.system.structure
        identity = {"theory": base.theory, "molecule": base.plan.fingerprint}
        base.run.open(base.settings, identity, Path(structure) if structure else None)
        with _events(base) as events, Ledger.open(base.run.ledger) as ledger:
            base.run.check_labels()
            records = list(base.run.records())
            view = View(campaign.settings.name, iterations=base.settings.iterations, records=records, part="base: ")
            assert base.model is not None
            farm = LabelFarm(campaign.graph, ledger, base.model, base.settings.labels, base.theory)
            inner = Campaign(base.plan, base.run, campaign.graph, ledger, farm, view, say=campaign.say)
            with _shown(ticker, view, farm, base.run), campaign.graph.logging_to(events):
                run_campaign(inner, lambda: committed(base.run))
    campaign.counted = campaign.graph.counts.copy()


@contextmanager
def _events(base: Base) -> Iterator[EventLog]:
    """Open the event log of the base, which says when a driver was there."""
    events, state = EventLog(base.run.events), "failed"
    events.write("driver", state="start", host=socket.gethostname(), pid=os.getpid())
    try:
        yield events
        state = "finished"
    finally:
        events.write("driver", state=state)
        events.close()


@contextmanager
def _shown(ticker: Ticker, view: View, farm: LabelFarm, run: RunDirectory) -> Iterator[None]:
    """Have a ticker show another campaign, and write its status into its folder too; after an error, to the end."""
    before = ticker.view, ticker.farm, ticker.exploring
    ticker.view, ticker.farm, ticker.exploring = view, farm, run
    yield
    ticker.write_status("finished")
    ticker.view, ticker.farm, ticker.exploring = before
