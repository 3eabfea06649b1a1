"""Knowledge-Supervised Learning: auxiliary branches that help to train a re-ID student and are gone at inference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import cast

from torch import Tensor, nn

from search_spaces.architecture import Architecture
from search_spaces.pick import Pick
from search_spaces.ranges import Name
from search_spaces.space import Staged
from students.reid import ReID, ReIDModule, ReIDNet, ReIDOutput, ReIDSpace


class Tail(nn.Module):
    """The last stages of a backbone: the map before them `[B, C, H, W]` to `{"map": ...}`."""

    def __init__(self, stages: Mapping[str, Iterable[nn.Module]], out_channels: int) -> None:
        super().__init__()
        self.stages = nn.ModuleDict({name: nn.Sequential(*modules) for name, modules in stages.items()})
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        for stage in self.stages.values():
            x = stage(x)
        return {"map": x}


class KSLNet(ReIDModule):
    """The main branch, and while training the auxiliary ones, each on the map before the stage it is named after."""

    def __init__(self, main: ReIDNet, branches: Mapping[str, ReIDNet]) -> None:
        super().__init__()
        self.main = main
        self.branches = nn.ModuleDict(branches)
        self.out_channels = main.out_channels
        stages = list(cast(Staged, main.backbone).stages())
        self._before = dict(zip(stages[1:], stages, strict=False))

    def forward(self, x: Tensor) -> ReIDOutput:
        if not self.training:
            return self.main(x)
        maps = self.main.backbone(x)
        branches = tuple(branch(maps[self._before[stage]]) for stage, branch in self.branches.items())
        return self.main.head(maps)._replace(branches=branches)

    def inference(self) -> ReIDNet:
        """What is measured, saved and exported: the main branch, an ordinary re-ID network."""
        return self.main

    def repeat_weights(self) -> None:
        """Starts the auxiliary branches from the main branch's weights, their heads aside."""
        stages = cast(Staged, self.main.backbone).stages()
        for branch in self.branches.values():
            for name, stage in cast(Tail, branch.backbone).stages.items():
                stage.load_state_dict(nn.Sequential(*stages[name]).state_dict())


@dataclass(frozen=True, kw_only=True)
class KSL(ReIDSpace):
    """A re-ID network with isomorphic auxiliary branches (Wang et al. 2021, section 3.1).

    A branch starts before a stage of the backbone, repeats that stage and all later ones with the same decisions but
    weights of its own, and has its own head. The decisions are the main network's, and `branch.STAGE` for
    each of `open_branches`.
    """

    has_branches = True

    main: ReID
    branches: tuple[Name, ...]
    """Stages before which a branch starts; the paper: `stage4`, `stage6` of MobileNetV2, `stage3`, `stage4` of
    ShuffleNetV2, `conv3`, `conv4` of CMSNet."""
    open_branches: tuple[Name, ...] = ()
    """Stages before which a branch may start or not: so it is open where they start and how many there are."""

    @property
    def title(self) -> str:
        return f"{self.main.title} with KSL"

    def with_ids(self, num_ids: int) -> KSL:
        return replace(self, main=self.main.with_ids(num_ids))

    def inference(self, architecture: Architecture | None = None) -> tuple[ReID, Architecture | None]:
        if architecture is None:
            return self.main, None
        decisions = {name: a for name, a in architecture.decisions.items() if not name.startswith("branch.")}
        return self.main, Architecture(type(self.main).__name__, decisions)

    def build(self, pick: Pick, c_in: int = 3) -> KSLNet:
        main = self.main.build(pick, c_in)
        asked, started = pick.within("branch"), []
        for stage in self._offered(main.backbone):
            published = stage in self.branches
            options = (published, not published) if stage in self.open_branches else (published,)
            if asked.value(stage, options):
                started.append(stage)
        return KSLNet(main, {stage: self._branch(stage, pick, c_in) for stage in started})

    def _offered(self, backbone: nn.Module) -> list[str]:
        """The stages before which a branch starts or may start, in the network's order."""
        points = list(backbone.stages())[1:] if isinstance(backbone, Staged) else []
        asked = {*self.branches, *self.open_branches}
        if unknown := sorted(asked - set(points)):
            raise ValueError(
                f"a branch must start before a stage of the backbone; {self.main.title} has no "
                f"{', '.join(unknown)}, it has {', '.join(points) or 'none to start at'}"
            )
        return [point for point in points if point in asked]

    def _branch(self, stage: str, pick: Pick, c_in: int) -> ReIDNet:
        branch = self.main.build(pick, c_in)
        backbone = cast(Staged, branch.backbone)
        stages = backbone.stages()
        kept = list(stages)[list(stages).index(stage) :]
        branch.backbone = Tail({name: stages[name] for name in kept}, backbone.out_channels)
        return branch
