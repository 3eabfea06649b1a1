"""Which networks teach together in which way."""

from __future__ import annotations

from collections.abc import Sequence

from students.space import StudentSpace
from teachers.ensemble import Ensemble, Joined
from teachers.person_search import SearchTeachers

JOINED: dict[str, type[Joined]] = {"person_search": SearchTeachers}
"""By the members' task; all others are an ensemble."""


def joined(members: Sequence[StudentSpace]) -> Joined:
    """The space of networks that teach together, all for the same task."""
    return JOINED.get(members[0].task, Ensemble)(members=tuple(members))
