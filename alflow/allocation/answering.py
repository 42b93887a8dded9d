"""What other processes ask of a running driver: campaigns are added and withdrawn, and whoever asked is answered."""

from __future__ import annotations

from collections.abc import Callable

from alflow.allocation import spool
from alflow.allocation.member import OPENED, Member
from alflow.allocation.members import Members
from alflow.errors import AlflowError, TerminatedError
from alflow.runs.allocations import AllocationDirectory


class Answering:
    """Looks into the spool, and answers once what was asked for is done."""

    def __init__(self, directory: AllocationDirectory, members: Members, say: Callable[[str], None]) -> None:
        """Begin with nothing asked for.

        Args:
            directory: of the allocation.
            members: its campaigns.
            say: shows a sentence to the user.
        """
        self._directory, self._members, self._say = directory, members, say
        self._asked: list[tuple[spool.Asked, Member]] = []

    def look(self) -> bool:
        """Take in what was asked for, and answer what has been done; say whether a campaign was added."""
        added = False
        for asked in spool.look(self._directory):
            try:
                self._do(asked)
                added = added or asked.action == "add"
            except AlflowError as error:
                asked.answer(str(error), accepted=False)
        for asked, member in tuple(self._asked):
            if member.ended or (asked.action == "add" and member.state == "running"):
                self._asked.remove((asked, member))
                _answer(asked, member)
        return added

    def close(self) -> None:
        """Answer those who came too late."""
        for asked in [*spool.look(self._directory), *(asked for asked, _ in self._asked)]:
            asked.answer("The driver has ended.", accepted=False)

    def _do(self, asked: spool.Asked) -> None:
        if asked.request is not None:
            self._members.check_room(asked.request, self._directory.path)
            member = self._members.take_in(asked.request)
            member.allowed = OPENED
            member.start()
            self._directory.note_runs({one.name: str(one.request.run) for one in self._members})
            self._say(f"{member.name}: added.")
        else:
            member = self._members.named(asked.name)
            member.withdrawn = True
            member.end(TerminatedError("The campaign was withdrawn; it can go on later."))
        self._asked.append((asked, member))


def _answer(asked: spool.Asked, member: Member) -> None:
    if asked.action == "withdraw":
        asked.answer(f"{member.name} has ended: {member.message}", accepted=True)
    elif member.state == "running":
        asked.answer(f"{member.name} runs with the others, in {member.request.run}.", accepted=True)
    else:
        asked.answer(f"{member.name}: {member.message}", accepted=member.state == "finished")
