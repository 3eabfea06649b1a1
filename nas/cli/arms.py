"""Arms on a command line: recipes behind the command's word, or a file of arms."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from nas.cli.arguments import OUT, parse_recipe_args
from nas.cli.find_recipe import recipe_named
from nas.cli.flags import pop_options
from nas.cli.workers import StudyOptions
from nas.recipe import Recipe
from nas.stages.ablate import Contrast
from nas.stages.arms import Arm
from nas.study.place import Place
from nas.system.files import blamed_on, check_format, read_object

FORMAT = 1
ARMS = "--arms"
Given = TypeVar("Given", bound=StudyOptions)


def pop_arms(arguments: Sequence[str]) -> tuple[list[str], Path | None, list[str]]:
    """The names before the first flag, the file behind `--arms`, and the other arguments."""
    asked, rest = pop_options((ARMS,), arguments)
    names = _leading(rest)
    return names, Path(asked[ARMS]) if asked else None, rest[len(names) :]


def words_of(names: Sequence[str]) -> dict[str, list[str]]:
    """The words of an arm for each recipe, by the recipe's short name."""
    return {Path(name).name.rpartition(":")[2]: [name] for name in names}


@dataclass(frozen=True)
class ArmsFile:
    """What a file of arms says."""

    words: Mapping[str, Sequence[str]]
    """The words of each arm, by its name."""
    contrasts: tuple[Contrast, ...]
    seeds: int | None


def read_arms(path: Path) -> ArmsFile:
    """Raises ValueError naming the file when it is none of arms."""
    written = read_object(path)
    check_format(written, FORMAT, path)
    with blamed_on(path):
        if unknown := written.keys() - {"format", "about", "arms", "contrasts", "seeds"}:
            raise ValueError(f"a file of arms has arms, contrasts and seeds, not {', '.join(sorted(unknown))}")
        arms = written.get("arms")
        if not isinstance(arms, Mapping) or not all(
            isinstance(words, str) and words.split() for words in arms.values()
        ):
            raise ValueError('arms must be an object of texts, such as {"plain": "small_baseline --seed 0"}')
        contrasts = written.get("contrasts", [])
        pairs = isinstance(contrasts, list) and all(
            isinstance(pair, list) and len(pair) == 2 and all(isinstance(side, str) for side in pair)
            for pair in contrasts
        )
        if not pairs:
            raise ValueError(f"contrasts must be a list of pairs of networks, not {contrasts!r}")
        seeds = written.get("seeds")
        if "seeds" in written and (type(seeds) is not int or seeds < 1):
            raise ValueError(f"seeds must be a whole number from 1 on, not {seeds!r}")
    return ArmsFile(
        words={name: shlex.split(words) for name, words in arms.items()},
        contrasts=tuple(Contrast(first=first, second=second) for first, second in contrasts),
        seeds=seeds,
    )


def parse_arms(
    words: Mapping[str, Sequence[str]], common: Sequence[str], word: str, about: str, kind: type[Given]
) -> tuple[tuple[Arm, ...], Given]:
    """The arms whose recipes and flags are their `words`, and the options of `nas WORD` among the flags that are
    `common`."""
    arms, options = [], []
    for name, (subject, *own) in words.items():
        recipe_name, recipe = recipe_named(subject)
        recipe, given = parse_recipe_args(recipe, [*own, *common], f"nas {word} {subject}", about, kind)
        arms.append(Arm(name=name, recipe_name=recipe_name, recipe=_without_pictures(recipe)))
        options.append(given)
    return tuple(arms), options[0]


def place_of(word: str, path: Path | None, arms: Sequence[Arm], options: StudyOptions) -> Place:
    """Where `nas WORD` has its study, by default in a folder that is named after the file of arms, or after these."""
    label = path.stem if path else "-".join(arm.name for arm in arms)
    return options.place(OUT / f"{word}-{label[:80]}{'-small' * options.small}")


def _without_pictures(recipe: Recipe) -> Recipe:
    """Nobody looks at them one by one."""
    return replace(recipe, evaluation=replace(recipe.evaluation, num_strips=0, num_thumbnails=0))


def _leading(arguments: Sequence[str]) -> list[str]:
    """The words before the first flag."""
    places = [place for place, word in enumerate(arguments) if word.startswith("-")]
    return list(arguments[: places[0] if places else len(arguments)])
