"""The words of the program, what each works on and what it does.

The code of `nas WORD` is `main` in `WORD.py`, with `_` for each `-`.
"""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """One word of the program."""

    subject: str
    help: str
    example: str
    sets_fields: bool = False
    """Whether the fields of a recipe can be set behind its subject."""


COMMANDS = {
    "teach": Command("RECIPE", "train the teacher", "nas teach kdas --data.root data", True),
    "identity-table": Command(
        "RUN|FILE",
        "turn a network for crops into a teacher of person search",
        "nas identity-table runs/out/kdas-seed0 --on prw --data.root data --out table.safetensors",
        True,
    ),
    "search": Command(
        "RECIPE|RUN",
        "search for an architecture",
        "nas search kdas --teacher.weights t.safetensors",
        True,
    ),
    "pretrain": Command(
        "RUN|RECIPE",
        "pretrain the student's backbone on folders of classes, as ImageNet's",
        "nas pretrain runs/out/kdas-seed0 --pretraining.data imagenet",
        True,
    ),
    "retrain": Command(
        "RUN",
        "train the found student and the baseline",
        "nas retrain runs/out/demo-seed0",
        True,
    ),
    "evaluate": Command(
        "SUBJECT",
        "measure a run, a recipe's teacher, any network or saved features",
        "nas evaluate runs/out/demo-seed0 --rerank",
        True,
    ),
    "draw": Command("RUN", "draw the cells", "nas draw runs/out/demo-seed0 --entry 2", True),
    "export": Command(
        "RUN", "write the student, or another network of the run, for cameras", "nas export runs/out/demo-seed0", True
    ),
    "report": Command("RUN", "write report.html", "nas report runs/out/demo-seed0", True),
    "run": Command("RECIPE", "run all stages, from teacher to report", "nas run demo --seed 1", True),
    "recipes": Command("", "list the recipes, one in a line", "nas recipes"),
    "data": Command("check", "check a data set before training", "nas data check market1501 data"),
    "reproduce": Command(
        "PAPER TABLE",
        "reproduce a paper's table and compare the numbers",
        "nas reproduce fast_reid table3 --data data",
    ),
    "tune": Command(
        "RECIPE",
        "try settings of a recipe on held-out identities",
        "nas tune fast_reid --parameters fast_reid --sampler grid",
    ),
    "submit": Command(
        "COMMAND",
        "start workers of a search, tune, ablate, tabulate or reproduce: here, on SLURM or on Ray",
        "nas submit tune fast_reid --data.root data --engine slurm --nodes 4 --gpus 1 --hours 24",
    ),
    "ablate": Command(
        "RECIPE RECIPE",
        "run arms with the same seeds, and compare them pair by pair",
        "nas ablate small_baseline small_constant small_kdas --seeds 20 --data.root data",
    ),
    "tabulate": Command(
        "RECIPE",
        "train many architectures of a space under each arm, as a table",
        "nas tabulate evidence_falling --arms runs/studies/ranking.json --architectures 50 --data.root data",
    ),
    "cost": Command(
        "STUDENT",
        "count parameters and MACs, by type of layer",
        "nas cost osnet --size 256x128",
    ),
    "show": Command("RUN", "list what a search found, with its Pareto front", "nas show runs/out/demo-seed0"),
    "runs": Command("[FOLDER]", "list all runs below a folder", "nas runs runs/out --html runs/out/index.html"),
    "serve": Command("RUN|FOLDER", "follow runs in the browser", "nas serve runs/out/demo-seed0 --open"),
    "compare": Command("RUN RUN", "compare accuracy and cost side by side", "nas compare runs/out/a runs/out/b"),
    "features": Command(
        "RUN|FILE IMAGES",
        "write the features of a folder's images, or of a CSV file's",
        "nas features runs/out/demo-seed0 photos --out photos.safetensors",
    ),
    "find": Command(
        "RUN|FILE IMAGE IMAGES",
        "rank the images of a folder by how much they look like one image",
        "nas find runs/out/demo-seed0 query.jpg photos --top 20",
    ),
    "verify": Command(
        "RUN|FILE IMAGE IMAGE",
        "say whether two images show the same person",
        "nas verify runs/out/demo-seed0 a.jpg b.jpg",
    ),
    "match": Command(
        "RUN|FILE VIDEO",
        "match the persons of a video, or of a folder of frames, to a gallery",
        "nas match runs/out/demo-seed0 gate.mp4 --boxes gate.csv --gallery photos",
    ),
    "bench": Command("WHAT", "measure speed, or compare strategies", "nas bench rerank --queries 3368 --gallery 15913"),
    "completion": Command(
        "bash|zsh",
        "complete commands, recipes and flags with Tab",
        "nas completion bash > ~/.local/share/bash-completion/completions/nas",
    ),
}
