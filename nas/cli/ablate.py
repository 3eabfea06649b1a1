"""`nas ablate RECIPE... --seeds N`: many arms with the same seeds, and what their paired differences say."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from nas.cli.arms import ARMS, parse_arms, place_of, pop_arms, read_arms, words_of
from nas.cli.files import Files, say
from nas.cli.flags import pop_options
from nas.cli.workers import StudyOptions, work_at_study
from nas.report.ablation import arms_table, contrasts_table, verdict, write_ablation_report
from nas.report.table import as_rich, terminal
from nas.stages.ablate import Ablation, Design, contrasts_with_first
from nas.study.place import Place
from search_spaces.ranges import Count

SEEDS = 5
EXAMPLE = "nas ablate small_baseline small_constant small_kdas --seeds 20 --data.root data"
USAGE = f"""usage: nas ablate RECIPE RECIPE ... [--seeds N] [--workers N] [--controls random-cell] [--field value ...]
                  [--out DIR] [--json]
       nas ablate --arms FILE [--seeds N] [--workers N] [--field value ...] [--out DIR] [--json]

Runs each recipe (an arm) with the same N seeds, all under one teacher where they have the same, and compares them pair
by pair: differences with p-values and intervals over seeds and identities, Holm's correction, the difference at equal
MACs, and how many seeds would be needed. Flags count for all arms. The same command goes on where a stopped one was,
and joins one that others work at. Nothing is shown of the arms before all pairs are in, unless --peek asks for it.

A file of arms names each arm's recipe and flags, and the contrasts, of which the first is the primary one:
{{"format": 1, "seeds": 20, "contrasts": [["taught", "plain"], ["plain", "plain:random-cell"]],
 "arms": {{"plain": "small_baseline --controls random-cell", "taught": "small_kdas --retrain-loss labels"}}}}

Example: {EXAMPLE}
"""


@dataclass(frozen=True)
class AblateOptions(StudyOptions):
    """What the command takes beside the fields of its recipes."""

    seeds: Annotated[Count | None, tyro.conf.arg(help=f"runs of each arm; by default the file's, or {SEEDS}")] = None
    peek: Annotated[bool, tyro.conf.arg(help="show the arms before all of their runs have ended")] = False


def main(arguments: Sequence[str]) -> int:
    """Runs `nas ablate ARGUMENTS`; the exit status. Raises ValueError for what cannot be compared."""
    names, file, common = pop_arms(arguments)
    if not names and not file:
        print(USAGE)
        return 0 if {"-h", "--help"} & set(arguments) else 2
    design, options, words, place = _asked(arguments)
    ablation = Ablation(design, place)
    if options.work_only:
        ablation.work()
        return 0
    return _ablate(ablation, options, list(arguments), words, common)


def folder_of(arguments: Sequence[str]) -> Path:
    """The folder of the study that these arguments ask for. Raises ValueError for what cannot be compared."""
    return _asked(arguments)[-1].folder


def _asked(arguments: Sequence[str]) -> tuple[Design, AblateOptions, Mapping[str, Sequence[str]], Place]:
    """The arms with their seeds and contrasts, the options, the words of each arm, and where the study is."""
    names, path, common = pop_arms(arguments)
    if names and path:
        raise ValueError(f"arms are recipes or a file, not both: leave out {ARMS}, or {' '.join(names)}")
    file = read_arms(path) if path else None
    words = file.words if file else words_of(names)
    if len(words) < 2:
        raise ValueError(f"there must be two arms or more to compare, got {', '.join(words)}: name another recipe")
    about = f"run arms with the same seeds, and compare them pair by pair\n\nExample: {EXAMPLE}"
    arms, options = parse_arms(words, common, "ablate", about, AblateOptions)
    seeds = options.seeds or (file and file.seeds) or SEEDS
    contrasts = (file.contrasts if file else ()) or contrasts_with_first(arms)
    design = Design(arms=arms, seeds=seeds, contrasts=contrasts)
    return design, options, words, place_of("ablate", path, arms, options)


def command_of_best(found: Mapping[str, Any], words: Mapping[str, Sequence[str]], common: Sequence[str]) -> str:
    """`nas run` with the recipe and the flags of the arm whose student has the highest mean. `words`: of each arm;
    `common`: the flags that all have, and those of this command, which are left out."""
    students = [arm for arm in found["arms"] if arm["name"] in words]
    best = max(students, key=lambda arm: arm["mAP"]["mean"])["name"]
    _, flags = pop_options(("--seeds", "--workers", "--storage", "--study", "--grace", "--out"), common)
    kept = [word for word in flags if word not in ("--peek", "--json", "--work-only")]
    return shlex.join(["nas", "run", *words[best], *kept])


def _ablate(
    ablation: Ablation,
    options: AblateOptions,
    arguments: Sequence[str],
    words: Mapping[str, Sequence[str]],
    common: Sequence[str],
) -> int:
    folder = ablation.place.folder
    files = Files(folder)
    threads = ablation.design.arms[0].recipe.machine.threads
    with ablation.telling():
        work_at_study("ablate", ablation.work, main, arguments, options.workers, threads, folder, ablation.engine)
    found = ablation.result(options.peek)
    best = command_of_best(found, words, common) if found.get("arms") else ""
    write_ablation_report(folder, found, best)
    if not options.json:
        console = terminal()
        for table in (arms_table(found), contrasts_table(found.get("contrasts", []))):
            console.print(as_rich(table))
        print(verdict(found))
        if best:
            print(f"`{best}` runs the arm with the highest mean mAP.")
    say(found, files.written(), options.json)
    return 0
