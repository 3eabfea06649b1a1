"""Tasks: what a data set is for. A data source says its own, by one of these names or as a `Task` itself."""

from pkgutil import resolve_name

from nas.data.source import Source
from nas.errors import near_misses
from nas.tasks.base import Task

TASKS = {
    "reid": "nas.tasks.reid.task:ReIDTask",
    "person_search": "nas.tasks.person_search.task:PersonSearchTask",
}
"""The built-in tasks, imported when they are needed."""


def task_of(source: Source) -> Task:
    """The task of a data source. Raises ValueError with near misses for an unknown name."""
    if not isinstance(source.task, str):
        return source.task
    if source.task not in TASKS:
        raise ValueError(
            f"{type(source).__name__}.task must be a Task or one of {', '.join(TASKS)}, not {source.task!r}"
            f"{near_misses(source.task, TASKS)}"
        )
    return task_named(source.task)


def task_named(name: str) -> Task:
    """The task that data sets and networks call so."""
    return resolve_name(TASKS[name])()
