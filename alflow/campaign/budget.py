"""Budget of labels: how much of it an iteration may ask for, and when it is spent.

What is left is spent on the most useful first. An audit comes before frames to learn from: without it nobody knows how
far off the potential is. And no frame to learn from is asked for where nothing would be left to audit what was learnt
from it: the last iteration of a budget trains on all labels, pulls, and spends what is left on its audit.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

from alflow.acquisition.correction import FRAMES
from alflow.campaign.campaign import Campaign
from alflow.campaign.goal import replicas_to_pull
from alflow.campaign.late import late_keys
from alflow.campaign.plan import Plan
from alflow.config.campaign import CampaignSettings
from alflow.errors import ConfigError
from alflow.files.whole import write_atomically
from alflow.runs.damage import COPY, whole
from alflow.runs.records import IterationRecord, estimate_text

NAME = "budget.json"
CURE = f"{COPY}; without one, remove it: the next `alflow run` shares out anew what is left"
AROUND_THE_BREAK = sum(FRAMES)
"""Labels around the break of one pull."""


@dataclass(frozen=True)
class Allotment:
    """What one iteration may ask for."""

    cap: int
    """Frames picked, each with its jittered copies."""
    audit: int
    """Frames of the audit."""
    audited_pulls: int
    """Pulls of each molecule and rate that are labelled around the break."""
    last: bool = False
    """Whether nothing is left of the budget for another iteration to learn from."""

    @classmethod
    def whole(cls, settings: CampaignSettings, replicas: int) -> Allotment:
        """Return what an iteration with so many replicas asks for where there is no budget."""
        chosen = settings.selection
        labels = chosen.cap * (1 + settings.augmentation.copies)
        return cls(chosen.cap, round(chosen.audit * labels), min(settings.stop.audited_pulls, replicas))

    @classmethod
    def closing(cls, settings: CampaignSettings) -> Allotment:
        """Return what audits all that was learnt: the last iteration of a budget pulls all replicas."""
        return replace(cls.whole(settings, settings.sampling.replicas.certify), cap=0)

    def audits(self, settings: CampaignSettings) -> bool:
        """Say whether the ensemble of the iteration is audited, or has frames assessed that are audited with it."""
        return bool(self.audit or self.audited_pulls or (self.cap and settings.selection.audit))

    def labels(self, plan: Plan, iteration: int) -> int:
        """Return how many labels that is at most."""
        return self.cap * (1 + plan.settings.augmentation.copies) + self.of_audit(plan, iteration)

    def of_audit(self, plan: Plan, iteration: int) -> int:
        """Return how many of them are the audit's."""
        around = self.audited_pulls * AROUND_THE_BREAK * len(plan.systems)
        return self.audit + around + self.audits(plan.settings) * starts(plan, iteration)


def starts(plan: Plan, iteration: int) -> int:
    """Return the labels of the frames from whose energies the errors of an audit are taken.

    Where the label engine relaxed them, they are the same in all iterations.
    """
    once = plan.settings.sampling.relax_with == "label-engine" and iteration > 0
    return 0 if once else len(plan.molecules)


def first_labels(plan: Plan, structures: int = 0) -> int:
    """Return the labels of the first data: of the structures of files and of a base, or of molecular dynamics."""
    if not plan.settings.starts_from_dynamics:
        return structures
    md = plan.settings.first_data.md
    first, last = md.equilibration_steps, md.equilibration_steps + md.steps
    return len(plan.molecules) * (last // md.stride - -(-first // md.stride) + 1)


def allot(plan: Plan, spent: int, iteration: int, replicas: int) -> Allotment:
    """Return what an iteration may ask for.

    Args:
        plan: of the campaign.
        spent: labels asked for before.
        iteration: its number.
        replicas: pulls of each molecule and rate that it makes, unless it is the last.
    """
    settings = plan.settings
    full, budget = Allotment.whole(settings, replicas), settings.labels.budget
    if budget is None:
        return full
    left, closing = max(budget - spent, 0), Allotment.closing(settings)
    own = full.of_audit(plan, iteration)
    kept = closing.labels(plan, iteration + 1) if iteration + 1 < settings.iterations else 0
    places = (left - own - kept) // (1 + settings.augmentation.copies)
    if places >= 1:
        return replace(full, cap=min(full.cap, places))
    return _closing(plan, closing, left - starts(plan, iteration))


def _closing(plan: Plan, wanted: Allotment, left: int) -> Allotment:
    """Return an audit that spends what is left: frames at random first, then pulls around the break, then the rest."""
    left, pull = max(left, 0), AROUND_THE_BREAK * len(plan.systems)
    pulls = min(wanted.audited_pulls, (left - min(wanted.audit, left)) // pull)
    audit = left - pulls * pull if wanted.audit else 0
    return Allotment(cap=0, audit=audit, audited_pulls=pulls, last=True)


def check_budget(plan: Plan, structures: int = 0) -> None:
    """Refuse a budget that does not pay for one batch.

    Raises:
        ConfigError: it is smaller than the first data, one iteration, and the audit of what was learnt.
    """
    budget, iterations = plan.settings.labels.budget, plan.settings.iterations
    if budget is None:
        return
    first, one = first_labels(plan, structures), Allotment.whole(plan.settings, _replicas(plan, 0)).labels(plan, 0)
    audit = Allotment.closing(plan.settings).labels(plan, 1) if iterations > 1 else 0
    if budget < first + one + audit:
        raise ConfigError(
            f"labels.budget must pay for one batch, {first + one + audit} labels here: {first} of first data, {one} of "
            f"one iteration (selection.cap, augmentation.copies, selection.audit, stop.audited_pulls), and {audit} of "
            f"the audit of what is learnt from them; got {budget}. Raise it, or make these smaller."
        )


def _replicas(plan: Plan, iteration: int) -> int:
    """Return how many replicas an iteration pulls, as far as the plan tells."""
    replicas = plan.settings.sampling.replicas
    return replicas.certify if iteration == plan.settings.iterations - 1 else replicas.search


def planned(plan: Plan, structures: int = 0) -> list[Allotment]:
    """Return what the iterations of a campaign ask for where each finds all that it may ask for."""
    spent, found = first_labels(plan, structures), list[Allotment]()
    for iteration in range(plan.settings.iterations):
        found.append(allot(plan, spent, iteration, _replicas(plan, iteration)))
        spent += found[-1].labels(plan, iteration)
        if found[-1].last:
            break
    return found


def budget_words(plan: Plan, structures: int = 0) -> str:
    """Say how a budget will be spent; empty where there is none."""
    budget = plan.settings.labels.budget
    if budget is None:
        return ""
    first, found = first_labels(plan, structures), planned(plan, structures)
    each = [one.labels(plan, iteration) for iteration, one in enumerate(found)]
    return (
        f"Budget: {first + sum(each)} of {budget} labels, {first} of them first data, then at most "
        f"{', '.join(map(str, each))} in {len(each)} iterations" + ("." if found[-1].last else ", which end first.")
    )


def spent_before(campaign: Campaign, iteration: int) -> int:
    """Return how many labels were asked for before an iteration, those that are still out included."""
    theory = campaign.farm.theory
    return len(campaign.ledger.asked(theory, iteration) | late_keys(campaign.run, iteration - 1, theory))


def allotment(campaign: Campaign, iteration: int, records: tuple[IterationRecord, ...]) -> Allotment:
    """Return what an iteration may ask for; one that has begun keeps what it was given, whatever the budget is now."""
    replicas = replicas_to_pull(records, campaign.settings)
    if campaign.settings.labels.budget is None:
        return Allotment.whole(campaign.settings, replicas)
    path = campaign.run.iteration(iteration) / NAME
    if path.exists():
        with whole(path, CURE):
            return Allotment(**json.loads(path.read_text(encoding="utf-8")))
    return allot(campaign.plan, spent_before(campaign, iteration), iteration, replicas)


def keep_allotment(campaign: Campaign, iteration: int, given: Allotment) -> None:
    """Write down what an iteration was given; nothing where there is no budget."""
    if campaign.settings.labels.budget is not None:
        folder = campaign.run.iteration(iteration)
        folder.mkdir(exist_ok=True)
        write_atomically(folder / NAME, json.dumps(asdict(given)).encode())


def budget_spent(campaign: Campaign, records: tuple[IterationRecord, ...], given: Allotment) -> str:
    """Say that the budget is spent and what the last iteration found; empty if it is not.

    Args:
        campaign: whose budget it is.
        records: committed iterations.
        given: what the next one might ask for.
    """
    if not (records and records[-1].last_of_budget and given.last):
        return ""
    budget, spent = campaign.settings.labels.budget, spent_before(campaign, len(records))
    return f"the budget of {budget} labels is spent ({spent} were asked for); {_found(records[-1])}"


def _found(record: IterationRecord) -> str:
    """Say how far off the barriers of an iteration are, or what they are where nothing tells."""
    corrected = [found for found in record.barrier_corrected_ev if found.error_ci95 is not None]
    if record.barrier_error_ev is not None:
        return f"the barrier's error in the last iteration is {estimate_text(record.barrier_error_ev, '+')} eV"
    if corrected:
        errors = ", ".join(f"{found.error:+.3f} ± {found.error_ci95:.3f}" for found in corrected)
        return f"the barrier's error in the last iteration is {errors} eV by its labels around the break"
    return f"the barrier of the last iteration is {estimate_text(record.barrier_ev)} eV, and nothing tells its error"
