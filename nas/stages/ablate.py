"""`nas ablate`: many arms, each with the same seeds, and what their paired differences say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from optuna import Trial
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState

from nas.errors import near_misses
from nas.recipe import Recipe
from nas.run import RESULTS, Run, decided
from nas.stages.evaluate import evaluate
from nas.stages.retrain import retrain
from nas.stages.search import check_search, search
from nas.stages.teach import teach_once
from nas.study.contrasts import arm_facts, contrast, read_measured, with_holm
from nas.study.engine import Engine, Outcome, Plan
from nas.study.place import Place
from nas.study.progress import watching
from nas.study.storage import join_study, open_storage, reached, retry
from nas.study.watch import note_study
from nas.system.config import portable, training_key
from nas.system.files import write_json
from nas.system.progress import clock, tell
from search_spaces.ranges import Count, Name, Ranged

FORMAT = 1
RESULT = "ablation.json"
STUDENT = "student"
MOST_SEEDS = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class Arm(Ranged):
    """One way to do it: a recipe under a name of its own."""

    name: Name
    """What contrasts call it."""
    recipe_name: Name
    """What `nas recipes` calls its recipe."""
    recipe: Recipe

    @property
    def roles(self) -> list[str]:
        """The networks that a run of it ends with, beside a teacher."""
        baseline = ["baseline"] * (self.recipe.baseline is not None)
        return [STUDENT, *baseline, *self.recipe.controls]


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
        names = [arm.name for arm in self.arms]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two arms are called {twice[0]!r}: give each a name of its own")
        by_recipe: dict[str, str] = {}
        for arm in self.arms:
            key = training_key(replace(arm.recipe, machine=self.arms[0].recipe.machine))
            same = by_recipe.setdefault(key, arm.name)
            if same != arm.name:
                raise ValueError(f"the arms {same!r} and {arm.name!r} do not differ: take one out, or change one")
        for name in ("seed", "data", "images", "evaluation"):
            values = {str(portable(getattr(arm.recipe, name))): arm.name for arm in self.arms}
            if len(values) > 1:
                raise ValueError(
                    f"arms are paired by seed, on the same images and queries, and {' and '.join(values.values())} "
                    f"differ in {name}: give all arms the same"
                )
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


class Ablation:
    """A study of arms and seeds: what its workers share, and the work of one of them."""

    def __init__(self, design: Design, place: Place) -> None:
        """Joins the study, or begins it. Raises ValueError before anything is written for what cannot be run."""
        self.design, self.place = design, place
        for arm in design.arms:
            _check(arm)
        self.storage = open_storage(place.address)
        with reached(self.place.address):
            self.study = join_study(
                self.storage,
                place.address,
                place.name,
                _facts(design),
                ["maximize"],
                RandomSampler(seed=0),
                NopPruner(),
            )
            num_trials = design.seeds * len(design.arms)
            self.engine = Engine(self.study, self.storage, self._plan, num_trials, place.grace_s)
        note_study(place, "ablate", num_trials)

    def work(self) -> None:
        """Takes part until every arm has all of its seeds."""
        with reached(self.place.address):
            if not self.engine.is_over:
                for arm in self.design.arms:
                    self._teach(arm)
                self.engine.work(self._run)

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

    @contextmanager
    def telling(self) -> Iterator[None]:
        """While inside, each trial that ends is said in a line, whoever worked at it; its result is not."""
        told = {trial.number for trial in self.engine.ended}

        def say() -> None:
            ended = self.engine.ended
            for trial in ended:
                if trial.number not in told:
                    told.add(trial.number)
                    tell(self._line(trial, ended), self.place.folder)

        with watching(say, self.place.address):
            yield

    def folder(self, arm: Arm, seed: int) -> Path:
        return self.place.folder / f"{arm.name}-seed{seed}"

    def _plan(self, number: int, ended: Sequence[FrozenTrial]) -> Plan:
        """Seed by seed, so that pairs come together."""
        seed, place = divmod(number, len(self.design.arms))
        return Plan(params={"arm": self.design.arms[place].name, "seed": self.design.first_seed + seed})

    def _run(self, trial: Trial) -> Outcome:
        name = retry(lambda: trial.suggest_categorical("arm", [arm.name for arm in self.design.arms]))
        seed = retry(lambda: trial.suggest_int("seed", 0, MOST_SEEDS))
        arm = next(arm for arm in self.design.arms if arm.name == name)
        run = Run(self.folder(arm, seed), arm.recipe_name, self._recipe(arm, seed))
        if run.does("search"):
            search(run)
        retrain(run)
        metrics = evaluate(run)
        return Outcome(values=[next(row["mAP"] for row in metrics["rows"] if row["role"] == STUDENT)])

    def _recipe(self, arm: Arm, seed: int) -> Recipe:
        teacher = arm.recipe.teacher
        if teacher is not None and teacher.weights is None:
            teacher = replace(teacher, weights=self._teacher_folder(arm) / RESULTS["teach"])
        return replace(arm.recipe, seed=seed, teacher=teacher)

    def _teach(self, arm: Arm) -> None:
        """One teacher, of the first seed, for all seeds and all arms that have the same."""
        if arm.recipe.teacher is not None and arm.recipe.teacher.weights is None:
            teach_once(Run(self._teacher_folder(arm), arm.recipe_name, arm.recipe))

    def _teacher_folder(self, arm: Arm) -> Path:
        return self.place.folder / f"teacher-{decided(arm.recipe, 'teach')[:8]}"

    def _done(self) -> set[tuple[str, int]]:
        """The arm and the seed of each trial that is complete."""
        return {(trial.params["arm"], trial.params["seed"]) for trial in self.engine.ended}

    def _failed(self) -> list[dict[str, Any]]:
        """The runs whose training diverged, which have no pair."""
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        return [dict(trial.params) | {"why": trial.user_attrs["why"]} for trial in trials if "why" in trial.user_attrs]

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

    def _line(self, trial: FrozenTrial, ended: Sequence[FrozenTrial]) -> str:
        took = [
            (each.datetime_complete - each.datetime_start).total_seconds()
            for each in ended
            if each.datetime_complete and each.datetime_start
        ]
        working = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        left = (self.engine.num_trials - len(ended)) * sum(took) / len(took) / max(1, len(working))
        return "  ".join(
            [
                f"ablate {len(ended)}/{self.engine.num_trials}",
                f"{trial.params['arm']} seed {trial.params['seed']}",
                f"{took[ended.index(trial)] / 60:.1f} min",
                f"eta {clock(left)}",
            ]
        )


def _check(arm: Arm) -> None:
    """Raises ValueError naming the arm for what its run would end with after hours."""
    recipe = arm.recipe
    try:
        recipe.machine.check_alone()
        if recipe.strategy is not None and recipe.architecture is None:
            check_search(recipe)
        recipe.load()
    except ValueError as error:
        raise ValueError(f"the arm {arm.name!r}: {error}") from error


def _facts(design: Design) -> dict[str, Any]:
    """What the study is about. The number of seeds may grow."""
    return {
        "arms": {arm.name: portable(replace(arm.recipe, machine=design.arms[0].recipe.machine)) for arm in design.arms},
        "contrasts": [asdict(each) for each in design.contrasts],
    }
