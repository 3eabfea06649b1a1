"""`nas ablate`: many arms, each with the same seeds, and what their paired differences say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optuna import Trial
from optuna.trial import FrozenTrial

from nas.errors import near_misses
from nas.run import Run
from nas.stages.arms import STUDENT, Arm, ArmStudy, check_arms, student_value
from nas.stages.evaluate import evaluate
from nas.stages.retrain import retrain
from nas.stages.search import search
from nas.study.contrasts import arm_facts, contrast, read_measured, with_holm
from nas.study.engine import Outcome, Plan
from nas.study.place import Place
from nas.system.files import write_json
from search_spaces.ranges import Count, Name, Ranged

FORMAT = 1
RESULT = "ablation.json"


@dataclass(frozen=True, kw_only=True)
class Contrast(Ranged):
    """What is asked: the first network minus the second, each an arm, or one of its other networks as `ARM:ROLE`."""

    first: Name
    """The network from which is subtracted."""
    second: Name
    """The network that is subtracted."""


@dataclass(frozen=True, kw_only=True)
class Design(Ranged):
    """What an ablation is, all of it decided before its first run."""

    arms: tuple[Arm, ...]
    seeds: Count
    """Runs of each arm, from the recipes' seed on: the number of pairs, and the rule by which it stops."""
    contrasts: tuple[Contrast, ...]
    """The first one is the primary one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_arms(self.arms)
        for asked in self.contrasts:
            for side in (asked.first, asked.second):
                if side not in self.networks:
                    raise ValueError(
                        f"a contrast names {side!r}{near_misses(side, self.networks)}; the networks are "
                        f"{', '.join(self.networks)}"
                    )
            if asked.first == asked.second:
                raise ValueError(f"a contrast is of two networks, not of {asked.first!r} and itself")

    @property
    def networks(self) -> dict[str, tuple[Arm, str]]:
        """The arm and the role of each network, by the name that contrasts call it by."""
        return {
            arm.name if role == STUDENT else f"{arm.name}:{role}": (arm, role)
            for arm in self.arms
            for role in arm.roles
        }

    @property
    def first_seed(self) -> int:
        return self.arms[0].recipe.seed


def contrasts_with_first(arms: Sequence[Arm]) -> tuple[Contrast, ...]:
    """Each further arm minus the first."""
    return tuple(Contrast(first=arm.name, second=arms[0].name) for arm in arms[1:])


class Ablation(ArmStudy):
    """A study of arms and seeds, and what their paired differences say."""

    word = "ablate"

    def __init__(self, design: Design, place: Place) -> None:
        """As `ArmStudy`. The number of seeds may grow."""
        self.design = design
        facts = {"contrasts": [asdict(each) for each in design.contrasts]}
        super().__init__(design.arms, place, design.seeds * len(design.arms), facts)

    def plan(self, number: int, ended: Sequence[FrozenTrial]) -> Plan:
        """Seed by seed, so that pairs come together."""
        seed, place = divmod(number, len(self.design.arms))
        return Plan(params={"arm": self.design.arms[place].name, "seed": self.design.first_seed + seed})

    def run(self, trial: Trial, arm: Arm, seed: int) -> Outcome:
        run = Run(self.folder(arm, seed), arm.recipe_name, self.recipe(arm, seed))
        if run.does("search"):
            search(run)
        retrain(run)
        return Outcome(values=[student_value(evaluate(run))])

    def name_of(self, trial: FrozenTrial) -> str:
        return f"{trial.params['arm']} seed {trial.params['seed']}"

    def result(self, peek: bool = False) -> dict[str, Any]:
        """What `ablation.json` holds. Before all pairs are in it says how many there are and nothing of the arms,
        unless it is to `peek`."""
        done = self._done()
        whole = self.engine.is_over
        found: dict[str, Any] = {
            "format": FORMAT,
            "seeds": self.design.seeds,
            "first_seed": self.design.first_seed,
            "trials": {"done": len(done), "planned": self.engine.num_trials},
            "complete": whole,
            "peeked": peek and not whole,
            "failed": self._failed(),
        }
        if whole or peek:
            found |= self._compared(done)
        write_json(self.place.folder / RESULT, found)
        return found

    def folder(self, arm: Arm, seed: int) -> Path:
        return self.place.folder / f"{arm.name}-seed{seed}"

    def _done(self) -> set[tuple[str, int]]:
        """The arm and the seed of each trial that is complete."""
        return {(trial.params["arm"], trial.params["seed"]) for trial in self.engine.ended}

    def _failed(self) -> list[dict[str, Any]]:
        """The runs whose training diverged, which have no pair."""
        return [dict(trial.params) | {"why": trial.user_attrs["why"]} for trial in self.diverged()]

    def _compared(self, done: set[tuple[str, int]]) -> dict[str, Any]:
        measured = {
            name: {
                seed: read_measured(self.folder(arm, seed), role)
                for seed in range(self.design.first_seed, self.design.first_seed + self.design.seeds)
                if (arm.name, seed) in done
            }
            for name, (arm, role) in self.design.networks.items()
        }
        asked = self.design.contrasts
        facts = [contrast(measured[each.first], measured[each.second]) for each in asked]
        return {
            "arms": [{"name": name} | arm_facts(networks) for name, networks in measured.items() if networks],
            "contrasts": [
                asdict(each) | {"primary": place == 0} | found
                for place, (each, found) in enumerate(zip(asked, with_holm(facts), strict=True))
            ],
        }
