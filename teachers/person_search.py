"""Teachers of person search beside its networks: an identity table alone, and networks that each teach a part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

from search_spaces.architecture import Architecture
from search_spaces.pick import Pick
from search_spaces.ranges import Channels, Count
from students.identity_table import IdentityTable, Matching
from students.space import StudentSpace, check_num_ids
from students.teaching import Detector, SearchTeacher
from teachers.ensemble import Joined


class IdentityTableNet(SearchTeacher):
    """An identity table and nothing else: it teaches (KD_reid) and answers no scenes."""

    def __init__(self, num_ids: int, dim: int) -> None:
        super().__init__()
        self.out_channels = dim
        self.identities = IdentityTable(num_ids, dim, Matching(queue=0))

    @property
    def taught_table(self) -> IdentityTable:
        return self.identities

    def fix(self, table: Tensor) -> None:
        """Takes a `table [P, D]` of rows of length 1 for good."""
        self.identities.fix(table)

    def forward(self, scenes: Any) -> Any:
        raise ValueError("an identity table alone finds nobody: it can only teach")


@dataclass(frozen=True, kw_only=True)
class IdentityTableOnly(StudentSpace):
    """An identity table for person search that came from elsewhere, such as from a network for crops."""

    task = "person_search"

    num_ids: Count
    """Rows of the table: training identities."""
    embedding_dim: Channels
    """Length of a row: of a person's feature."""

    @property
    def title(self) -> str:
        return "identity table"

    @property
    def answers_images(self) -> bool:
        return False

    def with_ids(self, num_ids: int) -> IdentityTableOnly:
        check_num_ids(self.num_ids, num_ids)
        return self

    def student(self, architecture: Architecture | None = None, c_in: int = 3) -> IdentityTableNet:
        return cast(IdentityTableNet, super().student(architecture, c_in))

    def build(self, pick: Pick, c_in: int = 3) -> IdentityTableNet:
        return IdentityTableNet(self.num_ids, self.embedding_dim)


class SearchTeachersNet(SearchTeacher):
    """The detector that speaks is the first member, the table is the last member's that has one."""

    def __init__(self, members: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleDict(members)
        self.out_channels = cast(int, self._members[0].out_channels)

    @property
    def detector(self) -> Detector | None:
        return self._members[0].detector

    @property
    def taught_table(self) -> IdentityTable | None:
        tables = [member.taught_table for member in self._members if member.taught_table is not None]
        return tables[-1] if tables else None

    @property
    def _members(self) -> list[SearchTeacher]:
        return [cast(SearchTeacher, member) for member in self.members.values()]

    def forward(self, scenes: Any) -> Any:
        """What the first member finds."""
        return self._members[0](scenes)


@dataclass(frozen=True, kw_only=True)
class SearchTeachers(Joined):
    """Networks for person search that teach together: the first one's detector, the last one's identity table."""

    task = "person_search"

    @property
    def title(self) -> str:
        return " and ".join(member.title for member in self.members)

    def join(self, nets: Mapping[str, nn.Module]) -> SearchTeachersNet:
        net = SearchTeachersNet(nets)
        if net.detector is None:
            raise ValueError(
                "the first of the teacher's members must be a detector, which the others may follow, and it gives an "
                f"identity table alone ({self.members[0].title}): give the detector first, or the table as the "
                "teacher's weights"
            )
        return net
