"""A run's folder: one recipe, and everything that its stages produced."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.recipe import Recipe, import_classes
from nas.system.at_work import AtWork
from nas.system.config import apply_overrides, decode, differences, encode, fingerprint, portable
from nas.system.environment import environment
from nas.system.files import blamed_on, read_json, read_object, write_json
from nas.system.handover import finish_handover
from nas.system.plugins import load_packages, load_sources, sources
from nas.system.run_config import FORMAT, RESULTS, read_config
from nas.system.version1 import STAGES
from nas.training.stage import Stage
from search_spaces.architecture import Architecture
from search_spaces.cost.latency import processor

DECIDES = {
    "teach": ("seed", "data", "images", "teacher"),
    "search": ("seed", "data", "images", "space", "loss", "strategy", "search"),
    "pretrain": ("seed", "space", "student", "pretraining"),
    "retrain": ("seed", "data", "images", "space", "student", "student_loss", "retrain"),
    "baseline": ("seed", "data", "images", "baseline", "student_loss", "retrain"),
    "random-cell": ("seed", "data", "images", "space", "student", "student_loss", "retrain"),
    "taught-baseline": ("seed", "data", "images", "baseline", "student_loss", "retrain"),
}
"""The fields of a recipe that a stage's result depends on."""

CONTROLS = ("random-cell", "taught-baseline")
"""Stages that a recipe asks for in its `controls`, by these names."""

STAGES_OF = {
    "teach": ("teach",),
    "search": ("search",),
    "pretrain": ("pretrain",),
    "retrain": ("retrain", "baseline", *CONTROLS),
    "run": tuple(stage for stage in RESULTS if stage != "pretrain"),
}
"""The stages that each command does, in their order."""

COMMANDS = {stage: command for command, stages in reversed(STAGES_OF.items()) for stage in stages}
"""The command that does a stage and nothing before it."""

MADE_OF = {
    "search": {"teach"},
    "pretrain": {"search"},
    "retrain": {"teach", "search"},
    "random-cell": {"teach", "search"},
    "taught-baseline": {"teach"},
}
"""The stages whose results a stage takes, where the recipe has them."""


@dataclass(frozen=True)
class Run:
    """A folder and the recipe it belongs to."""

    folder: Path
    name: str
    recipe: Recipe
    command: str = ""
    """The word of the program that works on it, for messages."""
    published: Recipe | None = None
    """The recipe of this name before any option, where it is known: the report says what differs."""

    @classmethod
    def open(cls, folder: Path) -> Run:
        """The run that an earlier command left in `folder`. Raises ValueError when there is none."""
        finish_handover(folder)
        data = _held(folder)
        with blamed_on(folder / "config.json"):
            return cls(folder, data["recipe"], decode(data["config"], Recipe))

    def begin(self, stage: str, *decides: object, shared: bool = False) -> Stage | None:
        """Stage `stage`, where an earlier process left it; None when it is finished. Writes the configuration.

        `decides` is what the result depends on beside the recipe's fields. Raises ValueError when the folder holds
        this stage of another configuration or of other `decides`, and when another process is at this stage, unless
        each of them is `shared`.
        """
        self.recipe.machine.fabric()  # says what is wrong with the machine before anything is written
        at_work = AtWork(self.folder, stage, shared) if self.recipe.machine.is_first else None
        self.check(stage)
        key, restart = decided(self.recipe, stage, *decides), self.restart([stage])
        begun = Stage(self.folder, stage, key, self.recipe.machine, restart=restart, at_work=at_work)
        if begun.fabric.is_global_zero:
            self._write_config(stage)
        if begun.first_says((self.folder / RESULTS[stage]).exists()):
            begun.release()
            return None
        return begun

    def check(self, *stages: str, beside: Iterable[str] = ()) -> None:
        """Raises ValueError naming the fields when the folder holds one of the stages of another configuration: a
        command asks for all of its stages before the first one writes. `beside`: those that start again anyway."""
        if not (self.folder / "config.json").exists():
            return
        held = _held(self.folder)
        changed = {}
        for stage in stages:
            if not has_begun(self.folder, stage):
                continue
            with blamed_on(self.folder / "config.json"):
                old = decode(held["stages"].get(stage, held["config"]), Recipe)
            pairs = {
                field: (portable(getattr(old, field)), portable(getattr(self.recipe, field)))
                for field in DECIDES[stage]
            }
            if lines := [line for field, pair in pairs.items() for line in differences(*pair, field)]:
                changed[stage] = lines
        if changed:
            first, fields = next(iter(changed.items()))
            command = self.command or COMMANDS[first]
            restart = self.restart([*changed, *beside])
            raise ValueError(
                f"{self.folder} holds this stage ({first}) of another configuration ({'; '.join(fields[:5])}): "
                f"give --out another folder, or `nas {command} ... {restart}` to start it again"
            )

    def does(self, stage: str) -> bool:
        """Whether the stage is done here: the recipe has it, and takes its result from no other run."""
        recipe = self.recipe
        return {
            "teach": recipe.teacher is not None and recipe.teacher.weights is None,
            "search": recipe.strategy is not None and recipe.architecture is None,
            "pretrain": True,
            "retrain": True,
            "baseline": recipe.baseline is not None,
            **{control: control in recipe.controls for control in CONTROLS},
        }[stage]

    def stages(self, command: str) -> list[str]:
        """What the command does of the recipe, in its order."""
        return [stage for stage in STAGES_OF[command] if self.does(stage)]

    def dependants(self, stages: Collection[str]) -> list[str]:
        """Of the stages that the folder holds, the others that are made of these."""
        here = {stage for stage in stages if self.does(stage)}
        asked = [each for each in RESULTS if each not in CONTROLS or self.does(each)]
        return [
            each
            for each in asked
            if each not in stages and MADE_OF.get(each, set()) & here and has_begun(self.folder, each)
        ]

    def restart(self, stages: Collection[str]) -> str:
        """The narrowest flag that lets the command start the stages again, and with them what is made of them."""
        own = self.stages(self.command or COMMANDS[next(iter(stages))])
        named = [stage for stage in own if stage in {*stages, *self.dependants(stages)}]
        return "--overwrite" if named == own else f"--overwrite {','.join(named)}"

    def note_recipe(self) -> None:
        """Writes the configuration of a run that no stage has begun."""
        if not (self.folder / "config.json").exists():
            self._write_config()

    def _write_config(self, stage: str = "") -> None:
        """Writes the recipe as the configuration of the run and, if it is not finished, of `stage`."""
        path = self.folder / "config.json"
        config, stages = encode(self.recipe), read_config(self.folder)["stages"] if path.exists() else {}
        if stage and not (self.folder / RESULTS[stage]).exists():
            stages |= {stage: config}
        written = {"format": FORMAT, "recipe": self.name, "config": config, "stages": stages}
        write_json(path, written | {"plugins": sources(self.recipe)})

    def end(self, stage: Stage) -> None:
        """Notes the environment and what the stage took; others may work at it now."""
        path = self.folder / "environment.json"
        notes = read_object(path) if path.exists() else {}
        minutes = notes.get("minutes", {}) | {stage.name: round(stage.seconds / 60, 2)}
        write_json(path, environment(processor()) | {"minutes": minutes})
        stage.release()

    @property
    def architecture_file(self) -> Path | None:
        """With what is to be retrained: the recipe's, that of the search, or None for the published architecture."""
        return self.recipe.architecture or (self.folder / RESULTS["search"] if self.recipe.strategy else None)

    def architecture(self) -> Architecture | None:
        """What `architecture_file` holds. Raises ValueError naming it when that does not fit the student's space."""
        path = self.architecture_file
        if path is None:
            return None
        if not self.recipe.architecture and not path.exists():
            raise ValueError(f"{self.folder} has no architecture.json yet: `nas search` comes first")
        found = read_architecture(path)
        with blamed_on(path):
            self.recipe.retrained.with_ids(1).check(found)
        return found

    def final_recipe(self) -> Recipe:
        """The recipe with what a joint search decided beside the architecture."""
        path = self.folder / RESULTS["search"]
        if self.recipe.architecture or self.recipe.strategy is None or not path.exists():
            return self.recipe
        with blamed_on(path):
            return apply_overrides(self.recipe, read_object(path).get("changes", {}))


def _held(folder: Path) -> dict[str, Any]:
    """What `config.json` holds, whose classes are known then."""
    import_classes()
    load_packages()
    upgrade(folder)
    data = read_config(folder)
    load_sources(folder / "config.json", data["plugins"])
    return data


def has_begun(folder: Path, stage: str) -> bool:
    """Whether a run's folder holds the stage, finished or on its way."""
    return any((folder / name).exists() for name in (RESULTS[stage], f"{stage}.ckpt", f"{stage}.journal"))


def decided(recipe: Recipe, stage: str, *beside: object) -> str:
    """Stands for all that a stage's result depends on: fields of the recipe, and what is `beside` them."""
    return fingerprint(*(getattr(recipe, field) for field in DECIDES[stage]), *beside)


def read_architecture(path: Path) -> Architecture:
    """Raises ValueError naming the file when it holds none."""
    with blamed_on(path):
        return Architecture.from_dict(read_json(path))


def upgrade(folder: Path) -> None:
    """Brings the files of a run of version 1 to the names of today, its `config.json` last.

    A kill in between leaves a folder that the next command goes on with. Raises ValueError as `read_config` does.
    """
    config, written = read_config(folder), read_json(folder / "config.json")
    if written.get("format", 1) == FORMAT:
        return
    for old, new in STAGES.items():
        for path in [*folder.glob(f"{old}.*"), *folder.glob(f"tensorboard/{old}")]:
            path.rename(path.with_name(path.name.replace(old, new, 1)))
    write_json(folder / "config.json", config)
