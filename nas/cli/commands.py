"""The words of the program: what each works on, what it does, and where its code is."""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """One word of the program."""

    subject: str
    help: str
    example: str
    call: str
    """Module and function; it is imported when the word is given, takes the arguments and returns the exit status."""
    sets_fields: bool = False
    """Whether the fields of a recipe can be set behind its subject."""


COMMANDS = {
    "teach": Command("RECIPE", "train the teacher", "nas teach kdas --data.root data", "nas.cli.teach:main", True),
    "search": Command(
        "RECIPE|RUN",
        "search an architecture",
        "nas search kdas --teacher.weights t.safetensors",
        "nas.cli.search:main",
        True,
    ),
    "retrain": Command(
        "RUN",
        "train the found student, and its baseline",
        "nas retrain runs/out/demo-seed0",
        "nas.cli.retrain:main",
        True,
    ),
    "evaluate": Command(
        "SUBJECT",
        "measure a run, a recipe's teacher, any network, saved features",
        "nas evaluate runs/out/demo-seed0 --rerank",
        "nas.cli.evaluate:main",
        True,
    ),
    "draw": Command("RUN", "draw the cells", "nas draw runs/out/demo-seed0 --entry 2", "nas.cli.draw:main", True),
    "export": Command(
        "RUN", "write the retrained student as ONNX", "nas export runs/out/demo-seed0", "nas.cli.export:main", True
    ),
    "report": Command("RUN", "write report.html", "nas report runs/out/demo-seed0", "nas.cli.report:main", True),
    "run": Command("RECIPE", "all of it, from teacher to report", "nas run demo --seed 1", "nas.cli.run:main", True),
    "recipes": Command("", "what exists, one line each", "nas recipes", "nas.cli.recipes:main"),
    "data": Command("check", "whether a data set is whole", "nas data check market1501 data", "nas.cli.data:main"),
    "reproduce": Command(
        "PAPER TABLE",
        "a paper's table, paper against measured",
        "nas reproduce fast_reid table3 --data data",
        "nas.cli.reproduce:main",
    ),
    "tune": Command(
        "RECIPE",
        "try settings of a recipe, on identities held out",
        "nas tune fast_reid --space fast_reid --sampler grid",
        "nas.cli.tune:main",
    ),
    "cost": Command(
        "STUDENT",
        "parameters, multiply-adds, and the layers they are in",
        "nas cost osnet --size 256x128",
        "nas.cli.cost:main",
    ),
    "show": Command(
        "RUN", "what a search found: its ranked list and front", "nas show runs/out/demo-seed0", "nas.cli.show:main"
    ),
    "compare": Command(
        "RUN RUN", "accuracy and cost side by side", "nas compare runs/out/a runs/out/b", "nas.cli.compare:main"
    ),
    "bench": Command(
        "WHAT", "how fast we are", "nas bench rerank --queries 3368 --gallery 15913", "nas.cli.bench:main"
    ),
}
