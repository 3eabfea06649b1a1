"""`nas tabulate`: many architectures of one space, each trained under every arm, as a table."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from optuna import Trial
from optuna.trial import FrozenTrial

from nas.recipe import Recipe
from nas.report.architecture_table import ALL, BY_CHANCE, FILE, FORMAT, read_table
from nas.report.history import read_history
from nas.report.metrics import read_metrics
from nas.run import RESULTS, Run
from nas.stages.arms import STUDENT, Arm, ArmStudy, check_arms, student_value
from nas.stages.evaluate import evaluate
from nas.stages.retrain import retrain
from nas.stages.sampled_students import Band, Sampled, distinct_students
from nas.strategies.settings import Search
from nas.study.engine import Outcome, Plan
from nas.study.place import Place
from nas.study.table_facts import summary
from nas.system.config import portable
from nas.system.files import blamed_on, write_json
from search_spaces.architecture import Architecture
from search_spaces.ranges import Count, Ranged

WRITE_S = 30.0
"""Between two writings of the table while the study goes on."""
Key = tuple[str, str, int]
"""An architecture by its hash, an arm and a seed."""


@dataclass(frozen=True, kw_only=True)
class TableDesign(Ranged):
    """What a table is of."""

    arms: tuple[Arm, ...]
    """How each architecture is trained. Their searches, baselines and controls are left out."""
    seeds: Count
    """Runs of each architecture under each arm, from the recipes' seed on."""
    architectures: Count | None
    """How many are drawn by the recipes' seed; None: all of the space."""
    band: Band | None = None
    """The multiply-adds that they have; None: any."""

    def __post_init__(self) -> None:
        super().__post_init__()
        bare = tuple(replace(arm, recipe=_retraining_alone(arm)) for arm in self.arms)
        object.__setattr__(self, "arms", bare)
        check_arms(bare)
        spaces = {str(portable(arm.recipe.retrained)): arm for arm in bare}
        if len(spaces) > 1:
            names = " and ".join(arm.name for arm in spaces.values())
            raise ValueError(f"a table is of one space, and the students of {names} differ: give all arms the same")

    @property
    def seed_numbers(self) -> list[int]:
        first = self.arms[0].recipe.seed
        return list(range(first, first + self.seeds))

    @property
    def chosen(self) -> dict[str, Any]:
        """How its architectures are chosen, as plain data."""
        return {
            "how": BY_CHANCE if self.architectures else ALL,
            "seed": self.arms[0].recipe.seed,
            "multiply_adds": self.band.multiply_adds if self.band else None,
            "within": self.band.within if self.band else None,
        }

    def students(self) -> list[Sampled]:
        """Raises ValueError as `distinct_students`."""
        return distinct_students(self.arms[0].recipe, self.architectures, self.band)


class Tabulation(ArmStudy):
    """A study of architectures, seeds and arms.

    An architecture is done with all seeds and arms before the next one begins: as they come by chance, those of a table
    that was stopped are a smaller sample of the same space, of which all can be said that can be of the whole table.
    """

    word = "tabulate"

    def __init__(self, design: TableDesign, place: Place) -> None:
        """As `ArmStudy`. The number of architectures that are drawn may grow, as more begin with the same ones."""
        self.design = design
        students = _held(design, place.folder / FILE) or design.students()
        self.students = {student.architecture.hash: student for student in students}
        self._keys: list[Key] = [
            (name, arm.name, seed) for name in self.students for seed in design.seed_numbers for arm in design.arms
        ]
        self._runs: dict[Key, dict[str, Any]] = {}
        self._written = 0.0
        super().__init__(design.arms, place, len(self._keys), {"seeds": design.seeds, "chosen": design.chosen})
        if not (place.folder / FILE).exists():
            self.result()

    def plan(self, number: int, ended: Sequence[FrozenTrial]) -> Plan:
        name, arm, seed = self._keys[number]
        return Plan(params={"arm": arm, "seed": seed}, notes={"architecture": name})

    def run(self, trial: Trial, arm: Arm, seed: int) -> Outcome:
        name = trial.user_attrs["plan"]["architecture"]
        folder = self.folder((name, arm.name, seed))
        path = folder.resolve() / RESULTS["search"]
        if not path.exists():
            write_json(path, self.students[name].architecture.to_dict() | {"hash": name})
        run = Run(folder, arm.recipe_name, replace(self.recipe(arm, seed), architecture=path))
        retrain(run)
        return Outcome(values=[student_value(evaluate(run))])

    def name_of(self, trial: FrozenTrial) -> str:
        return f"{trial.user_attrs['plan']['architecture']} {trial.params['arm']} seed {trial.params['seed']}"

    def write_now_and_then(self) -> None:
        """Writes the table, unless that was just done: whoever is killed leaves what there is."""
        if time.monotonic() - self._written >= WRITE_S:
            self.result()

    def result(self) -> dict[str, Any]:
        """What `table.json` holds: the runs that have ended, which are missing, and what they say."""
        done = {_key(trial) for trial in self.engine.ended}
        by_name: dict[str, list[Key]] = {name: [] for name in self.students}
        for key in self._keys:
            if key in done:
                by_name[key[0]].append(key)
        why = {_key(trial): trial.user_attrs["why"] for trial in self.diverged()}
        first = self.design.arms[0].recipe
        table: dict[str, Any] = {
            "format": FORMAT,
            "space": first.retrained.title,
            "settings": portable(first.retrained),
            "data": portable(first.data),
            "arms": {arm.name: {"recipe": arm.recipe_name, "config": portable(arm.recipe)} for arm in self.design.arms},
            "seeds": self.design.seed_numbers,
            "chosen": self.design.chosen,
            "trials": {"done": len(done), "planned": self.engine.num_trials},
            "architectures": [self._row(student, by_name[name]) for name, student in self.students.items()],
            "missing": [
                {"architecture": name, "arm": arm, "seed": seed, "why": why.get((name, arm, seed))}
                for name, arm, seed in self._keys
                if (name, arm, seed) not in done
            ],
        }
        table["summary"] = summary(table)
        write_json(self.place.folder / FILE, table)
        self._written = time.monotonic()
        return table

    def folder(self, key: Key) -> Path:
        name, arm, seed = key
        return self.place.folder / f"{name}-{arm}-seed{seed}"

    def _row(self, student: Sampled, done: Sequence[Key]) -> dict[str, Any]:
        for key in done:
            if key not in self._runs:
                self._runs[key] = _measured(self.folder(key)) | {"arm": key[1], "seed": key[2]}
        runs = [self._runs[key] for key in done]
        return {
            "hash": student.architecture.hash,
            "decisions": student.architecture.to_dict()["decisions"],
            "multiply_adds": student.multiply_adds,
            "parameters": student.parameters,
            **_milliseconds(runs),
            "runs": runs,
        }


def _held(design: TableDesign, path: Path) -> list[Sampled]:
    """The architectures of the table that an earlier process has begun, as counting costs takes its time; none where it
    is another table, or has fewer. Raises ValueError where it has more: their runs would be left out."""
    if not path.exists():
        return []
    table = read_table(path)
    rows, num = table["architectures"], design.architectures
    settings = portable(design.arms[0].recipe.retrained)
    if (table["chosen"], table["settings"]) != (design.chosen, settings) or len(rows) < (num or 1):
        return []
    if num and len(rows) > num:
        raise ValueError(
            f"--architectures is {num}, and the table in {path.parent} has {len(rows)} already: give as many or "
            "more, or --out another folder"
        )
    with blamed_on(path):
        return [
            Sampled(
                architecture=Architecture.from_dict(row),
                multiply_adds=row["multiply_adds"],
                parameters=row["parameters"],
            )
            for row in rows
        ]


def _retraining_alone(arm: Arm) -> Recipe:
    """What of the arm's recipe decides how a student is trained. Raises ValueError where it brings its architecture."""
    recipe = arm.recipe
    for flag, given in (("--architecture", recipe.architecture), ("--controls", recipe.controls)):
        if given:
            raise ValueError(f"the arm {arm.name!r}: a table has architectures of its own: leave {flag} out")
    return replace(
        recipe,
        space=recipe.retrained,
        student=None,
        loss=recipe.student_loss,
        retrain_loss=None,
        strategy=None,
        search=Search(),
        baseline=None,
    )


def _key(trial: FrozenTrial) -> Key:
    return trial.user_attrs["plan"]["architecture"], trial.params["arm"], trial.params["seed"]


def _measured(folder: Path) -> dict[str, Any]:
    """What a run came to, and how."""
    row = next(row for row in read_metrics(folder / "metrics.json")["rows"] if row.get("role") == STUDENT)
    history = read_history(folder / "retrain.history.jsonl")
    timing = row.get("timing")
    return {
        "mAP": row["mAP"],
        "rank1": row["rank1"],
        "loss": [line["loss"]["total"] for line in history],
        "mAP_by_epoch": {str(line["epoch"]): line["mAP"] for line in history if line.get("mAP") is not None},
        "ms_per_image_1": row.get("ms_per_image_1"),
        "timing": timing and {name: value for name, value in timing.items() if name != "batches"},
    }


def _milliseconds(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The median over the runs, where all of them were timed in the same way."""
    times = [run["ms_per_image_1"] for run in runs if run["ms_per_image_1"] is not None]
    ways = [run["timing"] for run in runs]
    same = bool(times) and len(times) == len(runs) and all(way == ways[0] for way in ways)
    return {"ms_per_image_1": median(times) if same else None, "timing": ways[0] if same else None}
