"""The parts of a recipe that the command line names as a whole: strategy, loss, teacher and networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from nas.errors import named, near_misses
from nas.losses import LOSSES
from nas.losses.base import Loss
from nas.losses.relations import RelationLoss
from nas.recipe import Recipe, TeacherRecipe
from nas.run import RESULTS
from nas.strategies import STRATEGIES
from nas.strategies.base import Strategy
from students.hinted import Hinted
from students.named import STUDENTS
from students.space import StudentSpace

NONE = "None"


def with_parts(recipe: Recipe, asked: Mapping[str, str]) -> Recipe:
    """The recipe with what the flags in `asked` name, or without a part where that is `None`.

    Raises ValueError with near misses for an unknown name, and for a teacher that is nowhere.
    """
    for flag, put in PARTS.items():
        if flag in asked:
            recipe = put(recipe, asked[flag])
    return recipe


def strategy_named(name: str, instead_of: Strategy | None) -> Strategy:
    """The strategy with its defaults, and the budget of the one that it stands in for.

    Raises ValueError with near misses for an unknown name.
    """
    strategy = named("strategy", name, STRATEGIES)
    return strategy.with_budget_of(instead_of) if instead_of else strategy


def loss_named(name: str) -> Loss:
    """The loss with its defaults; of `rkd+pkt+kdas` the last one, with the relations of those before it added.

    Raises ValueError with near misses for an unknown name, and for one before a `+` that adds nothing to another.
    """
    *added, last = (named("loss", part, LOSSES) for part in name.split("+"))
    for loss in reversed(added):
        if not isinstance(loss, RelationLoss):
            able = [key for key, each in LOSSES.items() if isinstance(each, RelationLoss)]
            raise ValueError(f"--loss {name}: of several losses joined by + all but the last are {', '.join(able)}")
        last = replace(loss, each=last)
    return last


def network_named(name: str, like: StudentSpace) -> StudentSpace:
    """The network as published; where `like` is for another task around a backbone, `like` around the network's."""
    network = named("network", name, STUDENTS)
    if network.task == like.task:
        return network
    if isinstance(like, Hinted):
        return replace(like, main=network_named(name, like.main))
    return replace(like, backbone=network.backbone)


def _put_strategy(recipe: Recipe, name: str) -> Recipe:
    return replace(recipe, strategy=None if name == NONE else strategy_named(name, recipe.strategy))


def _put_loss(recipe: Recipe, name: str) -> Recipe:
    return replace(recipe, loss=loss_named(name))


def _put_retrain_loss(recipe: Recipe, name: str) -> Recipe:
    return replace(recipe, retrain_loss=None if name == NONE else loss_named(name))


def _put_teacher(recipe: Recipe, name: str) -> Recipe:
    if name == NONE:
        return replace(recipe, teacher=None)
    teacher = recipe.teacher or TeacherRecipe()
    if name in STUDENTS:
        return replace(recipe, teacher=replace(teacher, net=network_named(name, teacher.net), weights=None, members=()))
    return replace(recipe, teacher=replace(teacher, weights=_weights(Path(name)), members=()))


def _weights(path: Path) -> Path:
    """A file of weights, or that of the teacher in a run's folder, else of its student."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise ValueError(
            "--teacher takes a file of weights, the folder of a run, a network to train, or None, and "
            f"{str(path)!r} is none of these{near_misses(str(path), STUDENTS)}; the networks are {', '.join(STUDENTS)}"
        )
    files = [path / RESULTS[stage] for stage in ("teach", "retrain")]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        raise ValueError(f"--teacher {path}: the folder has neither {' nor '.join(file.name for file in files)}")
    return found


def _put_space(recipe: Recipe, name: str) -> Recipe:
    """The student is as searched then: that of another space has other decisions."""
    return replace(recipe, space=network_named(name, recipe.space), student=None)


def _put_student(recipe: Recipe, name: str) -> Recipe:
    student = None if name == NONE else network_named(name, recipe.retrained)
    if student and recipe.strategy is None:
        return replace(recipe, space=student, student=None)
    return replace(recipe, student=student)


def _put_baseline(recipe: Recipe, name: str) -> Recipe:
    like = recipe.baseline or recipe.retrained
    return replace(recipe, baseline=None if name == NONE else network_named(name, like))


PARTS: dict[str, Callable[[Recipe, str], Recipe]] = {
    "--strategy": _put_strategy,
    "--loss": _put_loss,
    "--retrain-loss": _put_retrain_loss,
    "--teacher": _put_teacher,
    "--space": _put_space,
    "--student": _put_student,
    "--baseline": _put_baseline,
}
"""What puts that which a flag names into a recipe, in an order in which later ones may ask for earlier ones."""
