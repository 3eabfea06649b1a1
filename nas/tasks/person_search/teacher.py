"""Whether a student for person search can learn from a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from nas.models.network import Network
from nas.tasks.base import TaskRecipe
from students.person_search import PersonSearchNet
from students.scenes import DETECTOR, TABLE
from students.space import StudentModule
from students.teaching import SearchTeacher
from teachers.detector import check_same_anchors

ASKED = {TABLE: "fixed_table takes a teacher's identity table", DETECTOR: "detector hears a teacher's detector"}
"""What a loss is set to when it asks a teacher for these."""


def check_has_teacher(recipe: TaskRecipe) -> None:
    """Raises ValueError when a loss asks for what a teacher alone has, and there is none."""
    if recipe.teacher is None and (asked := [said for name, said in ASKED.items() if name in recipe.teacher_maps]):
        raise ValueError(
            f"the loss's {' and its '.join(asked)}, and the recipe has no teacher: give it one, or take --loss oim, "
            "which needs none"
        )


def check_teacher(teacher: Network, what: str, student: StudentModule, maps: Sequence[str]) -> None:
    """Raises ValueError where `student` cannot learn from the teacher, called `what`, what is asked for in `maps`."""
    net, own = cast(SearchTeacher, teacher.net), cast(PersonSearchNet, student.inference())
    try:
        if DETECTOR in maps:
            check_same_anchors(own, net.detector_to_teach())
        if TABLE in maps:
            table = net.table_to_teach().complete(teacher.identities)
            if table.shape[1] != own.out_channels:
                raise ValueError(
                    f"a teacher's identity table must have rows as long as the student's features: they have "
                    f"{table.shape[1]} numbers, the student's embedding_dim is {own.out_channels or None}; give the "
                    f"student embedding_dim={table.shape[1]}, or take another teacher"
                )
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None
