"""`nas reproduce PAPER TABLE --data PATH`: the rows of a published table, one run each; paper against measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from optuna import Trial
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial

from nas.data.class_folders import check_class_folders
from nas.data.source import Source
from nas.recipe import Recipe
from nas.report.metrics import read_metrics
from nas.report.table import as_markdown
from nas.run import RESULTS, Run
from nas.stages.evaluate import evaluate
from nas.stages.paper_table import result_tables
from nas.stages.pretrain import pretrain
from nas.stages.report import report
from nas.stages.run import run_all
from nas.stages.search import search
from nas.stages.table_plan import Step, Training, found_teacher, needs_pretraining, needs_search, plan
from nas.stages.teach import teach_once
from nas.study.engine import Engine, Outcome, Plan
from nas.study.place import Place, stored_in
from nas.study.published import Published
from nas.study.storage import join_study, open_storage, retry
from nas.study.watch import note_study
from nas.system.config import fingerprint
from nas.system.files import read_object, write_json, write_text
from nas.system.locks import locked
from nas.training.machine import Machine
from students.space import StudentSpace

FORMAT = 1


class Reproduction:
    """A table's rows and seeds as a study: what its workers share, and the work of one of them."""

    def __init__(self, rows: Sequence[Published], place: Place, num_seeds: int = 1, overwrite: bool = False) -> None:
        """Joins the study, or begins it. Raises ValueError when no row's data set is there."""
        self.rows, self.folder, self.overwrite = rows, place.folder, overwrite
        for row in rows:
            row.recipe.machine.check_alone()
        self.not_run = why_not_run(rows)
        if len(self.not_run) == len(rows):
            raise ValueError(next(iter(self.not_run.values())))
        self.steps = plan([row for row in rows if row.name not in self.not_run], self.folder, num_seeds)
        address = place.address
        if overwrite and place.storage:
            raise ValueError(
                "a study in a storage is not overwritten, others may work at it: give --out another folder"
            )
        if overwrite:
            stored_in(self.folder).unlink(missing_ok=True)
        storage = open_storage(address)
        rows_and_seeds = [f"{step.row.name}, seed {step.recipe.seed}" for step in self.steps]
        recipes = [replace(step.recipe, machine=Machine()) for step in self.steps]
        name = f"{place.name}-{fingerprint(*rows_and_seeds, *recipes)}"
        study = join_study(
            storage, address, name, {"rows": rows_and_seeds}, ["maximize"], RandomSampler(seed=0), NopPruner()
        )
        self.engine = Engine(study, storage, self._plan, len(self.steps), place.grace_s)
        note_study(replace(place, study=name), "reproduce", len(self.steps))

    def work(self) -> None:
        """Takes part until every row has all of its seeds; `table.json` and `table.md` hold what there is."""
        self.engine.work(self._run, look=self.write)

    def results(self) -> list[dict[str, Any]]:
        """The rows, with the runs that have ended."""
        results: dict[str, dict[str, Any]] = {
            row.name: {
                "name": row.name,
                "paper": dict(row.paper),
                "paper_runs": [dict(run) for run in row.runs],
                "data": type(row.recipe.data).__name__,
                "not_run": self.not_run.get(row.name),
                "same_as": row.same_as or None,
                "beside": {label: list(names) for label, names in row.beside.items()},
                "runs": [],
            }
            for row in self.rows
        }
        ended = {trial.user_attrs["place"] for trial in self.engine.ended}
        for number, step in enumerate(self.steps):
            if number in ended:
                metrics = read_metrics(self.folder / step.folder / "metrics.json")
                measured = measured_row(step.row, metrics)
                counted = (
                    {"parameters_as_paper": _as_paper(step.row, measured)} if "parameters" in step.row.paper else {}
                )
                further = {"data": metrics["data"], **measured, **counted, **_minutes(step, self.folder)}
                results[step.row.name]["runs"].append(_facts(step) | further)
        return list(results.values())

    def write(self) -> None:
        _write(self.results(), notes(self.steps), self.folder)

    def _plan(self, number: int, ended: Sequence[FrozenTrial]) -> Plan:
        """What trains the same network is worked at one after the other."""
        step = self.steps[number]
        return Plan(notes={"row": step.row.name} | _facts(step), key=_facts(step)["trained_in"])

    def _run(self, trial: Trial) -> Outcome:
        """What an earlier row has trained or measured is not done again."""
        step = self.steps[trial.user_attrs["place"]]
        earlier = [self.steps[ended.user_attrs["place"]] for ended in retry(lambda: self.engine.ended)]
        if step.folder in [each.folder for each in earlier]:
            metrics = read_metrics(self.folder / step.folder / "metrics.json")
        else:
            is_trained = _facts(step)["trained_in"] in [_facts(each)["trained_in"] for each in earlier]
            metrics = _measured(step, self.folder, self.overwrite and not is_trained)
        measured = measured_row(step.row, metrics)
        return Outcome(values=[measured["mAP"] if "mAP" in measured else measured["detection_AP"]])


def reproduce(
    rows: Sequence[Published],
    folder: Path,
    num_seeds: int = 1,
    overwrite: bool = False,
    say: Callable[[str], object] = lambda line: None,
) -> list[dict[str, Any]]:
    """Runs the rows as `nas.stages.table_plan.plan` says; gives the results.

    `folder/table.json` and `table.md` hold them after each run. `say` is told in a line what there is to do, before it
    begins. Raises ValueError when no row's data set is there.
    """
    reproduction = Reproduction(rows, Place(folder=folder), num_seeds, overwrite)
    say(work_line(reproduction.steps, folder))
    reproduction.work()
    return reproduction.results()


def why_not_run(rows: Sequence[Published]) -> dict[str, str]:
    """By their names the rows that cannot be run, and why."""
    absent = _absent({source for row in rows for source in _sources(row)})
    unread = {row.name: absent[source] for row in rows for source in _sources(row) if source in absent}
    unfound = {row.name: reason for row in rows if (reason := _not_pretrained(row))}
    same = {row.name: f"it is the same as {row.same_as!r} as it was asked for" for row in rows if row.same_as}
    again = "it is about what re-ranking gives: leave out --evaluation.no-rerank"
    unranked = {row.name: again for row in rows if row.reranked and not getattr(row.recipe.evaluation, "rerank", False)}
    return unfound | unread | unranked | same


def _sources(row: Published) -> list[Source]:
    """The data sets that the row needs: its own, and that of the search of its architecture."""
    searching = row.found_by if row.role == "student" else None
    return [row.recipe.data, *([searching.data] if searching and needs_search(searching) else [])]


def _not_pretrained(row: Published) -> str:
    """Why the row's architecture cannot be pretrained; empty where it can be, or need not."""
    if row.found_by is None or not needs_pretraining(row) or row.role != "student":
        return ""
    folder = row.found_by.pretraining.data
    if folder is None:
        return (
            "its architecture is pretrained first: give --pretraining.data a folder with train/CLASS and val/CLASS, as "
            'of ImageNet, --retrain.pretrained a file of `nas pretrain`, or "" to start from random weights'
        )
    try:
        check_class_folders(folder)
    except ValueError as error:
        return str(error)
    return ""


def work_line(steps: Sequence[Step], folder: Path) -> str:
    """How much there is to train and to measure, and what of it is finished, in one line."""
    students = {step.student.folder: RESULTS["retrain"] for step in steps if step.student}
    teachers = {teacher.folder: RESULTS["teach"] for step in steps for teacher in _all_teachers(step)}
    finished = [sum((folder / name / file).exists() for name, file in each.items()) for each in (students, teachers)]
    done = f" ({finished[0]} and {finished[1]} are finished)" if any(finished) else ""
    trainings, taught = _counted(len(students), "training"), _counted(len(teachers), "teacher")
    found = {step.found_in.folder for step in steps if step.found_in}
    first = f", {_counted(len(found), 'architecture')} to search or pretrain before" if found else ""
    return f"{trainings} and {taught} to train{done}{first}, {_counted(len(steps), 'row')} to measure, in {folder}"


def _all_teachers(step: Step) -> list[Training]:
    """Those of the row, and that of the search before it."""
    searching = found_teacher(step.found_in) if step.found_in else None
    return [*step.teachers, *([searching] if searching else [])]


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def plan_facts(steps: Sequence[Step]) -> dict[str, Any]:
    """The plan as plain data."""
    return {
        "trainings": len({step.student.folder for step in steps if step.student}),
        "teachers": len({teacher.folder for step in steps for teacher in _all_teachers(step)}),
        "architectures": len({step.found_in.folder for step in steps if step.found_in}),
        "steps": [{"name": step.row.name} | _facts(step) for step in steps],
    }


def notes(steps: Sequence[Step]) -> list[str]:
    """What a reader of the table should know of how its networks were trained."""
    said = []
    taught = [(step, teacher) for step in steps if step.student for teacher in step.teachers]
    if any(teacher.recipe.seed != step.recipe.seed for step, teacher in taught):
        said.append(
            "The teacher is the same for all seeds of a student, trained with the first of them; rows about a teacher "
            "have one for each seed."
        )
    if any(step.found_in for step in steps) and len({step.recipe.seed for step in steps}) > 1:
        said.append("An architecture is searched and pretrained once for all seeds, with the first of them.")
    if any(step.student and step.student.folder != step.folder for step in steps):
        said.append("Rows that differ in the test images alone measure one network.")
    if any(len(names) > 1 for step in steps for names in step.row.beside.values()):
        said.append("The best of several networks beside a row is chosen by the test images, which flatters it.")
    return said


def measured_row(row: Published, metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    """What was measured of the row's network."""
    asked = (row.role, row.reranked)
    return next(each for each in metrics["rows"] if (each["role"], "rerank" in each) == asked)


def _minutes(step: Step, folder: Path) -> dict[str, float]:
    """Of the training of the row's network, where that is known."""
    trained = step.student or next(iter(step.teachers), None)
    path = folder / (trained.folder if trained else step.folder) / "environment.json"
    minutes = read_object(path).get("minutes", {}) if path.exists() else {}
    stage = "retrain" if step.student else "teach"
    return {"minutes": minutes[stage]} if stage in minutes else {}


def _as_paper(row: Published, measured: Mapping[str, Any]) -> int:
    """The parameters of what was measured, with and without the parts that the paper counts and leaves out."""
    recipe, counted = row.recipe, int(measured["parameters"])
    space = recipe.teacher.net if row.role == "teacher" and recipe.teacher else recipe.retrained
    space = space.with_ids(row.counted_ids or 1)
    if row.counts_backbone:
        counted -= _size(space, "embedding") + _size(space, "neck")
    return counted + (_size(space, "classifier") if row.counted_ids else 0)


@cache
def _size(space: StudentSpace, part: str) -> int:
    """The parameters of a part behind the backbone, which no decision of the space changes."""
    with torch.device("meta"):
        net: Any = space.student().inference()
    return sum(parameter.numel() for parameter in net.get_submodule(part).parameters())


def _absent(sources: Iterable[Source]) -> dict[Source, str]:
    """The data sets that cannot be read, and why."""
    reasons = {}
    for source in sources:
        try:
            source.load()
        except ValueError as error:
            reasons[source] = str(error)
    return reasons


def _measured(step: Step, folder: Path, overwrite: bool) -> dict[str, Any]:
    """Trains the step's network, unless that is done, and measures it."""
    if step.found_in:
        step = _with_found(step, _found(step.found_in, needs_pretraining(step.row), folder), folder)
    weights = _teacher_weights(step, folder)
    trained_in = _run(step.student, weights, folder) if step.student else None
    if trained_in and trained_in.folder.name == step.folder:
        return run_all(trained_in, overwrite)
    if trained_in and not (trained_in.folder / RESULTS["retrain"]).exists():
        run_all(trained_in)
    run = _run(Training(name=step.name, folder=step.folder, recipe=step.recipe), weights, folder)
    metrics = evaluate(run, overwrite, trained_in=trained_in)
    report(run)
    return metrics


def _found(found_in: Training, pretrained: bool, folder: Path) -> Run:
    """Searches and pretrains what rows start from, as far as that is not done: of several processes one does it, and
    the others wait."""
    teacher = found_teacher(found_in)
    weights = _taught(Run(folder / teacher.folder, teacher.name, teacher.recipe)) if teacher else None
    run = _run(found_in, weights, folder)
    with locked(run.folder / "found.lock"):
        if run.does("search"):
            search(run)
        if pretrained:
            pretrain(run)
    return run


def _with_found(step: Step, found: Run, folder: Path) -> Step:
    """The step, whose networks have the architecture that was found, and start from its pretrained weights."""

    def starting(recipe: Recipe) -> Recipe:
        if needs_pretraining(step.row):
            path = str(found.folder / RESULTS["pretrain"])
            recipe = replace(recipe, retrain=replace(recipe.retrain, pretrained=path))
        return replace(recipe, architecture=found.architecture_file)

    assert step.student
    student = replace(step.student, recipe=starting(step.student.recipe))
    return replace(step, recipe=starting(step.recipe), student=student)


def _teacher_weights(step: Step, folder: Path) -> Path | None:
    """Those of the step's teacher, once it is trained; of several, once they are joined."""
    weights = [_taught(Run(folder / teacher.folder, teacher.name, teacher.recipe)) for teacher in step.teachers]
    if len(weights) < 2:
        return next(iter(weights), None)
    recipe = step.row.recipe
    assert recipe.teacher
    joined = replace(recipe, teacher=replace(recipe.teacher, members=tuple(weights)))
    return _taught(Run(folder / f"{step.name}-teachers", "teachers", joined))


def _taught(run: Run) -> Path:
    teach_once(run)
    return run.folder / RESULTS["teach"]


def _run(training: Training, weights: Path | None, folder: Path) -> Run:
    """The run of `training`, under the teacher of the step's own if there is one."""
    recipe = training.recipe
    if weights is not None and recipe.teacher is not None:
        recipe = replace(recipe, teacher=replace(recipe.teacher, weights=weights, members=()))
    return Run(folder / training.folder, training.name, recipe)


def _facts(step: Step) -> dict[str, Any]:
    return {
        "folder": step.folder,
        "trained_in": step.student.folder if step.student else step.folder,
        "teacher": " and ".join(teacher.folder for teacher in step.teachers) or None,
        "seed": step.recipe.seed,
        "found_in": step.found_in.folder if step.found_in else None,
    }


def _write(results: Sequence[Mapping[str, Any]], notes: Sequence[str], folder: Path) -> None:
    write_json(folder / "table.json", {"format": FORMAT, "rows": results, "notes": notes})
    tables = [as_markdown(table).rstrip("\n") for table in result_tables(results)]
    write_text(folder / "table.md", "\n\n".join([*tables, *notes]) + "\n")
