"""Every command that writes ends with what it wrote, as paths that can be opened."""

import io
import json
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from nas.cli.commands import COMMANDS
from nas.cli.files import Files, openable
from nas.cli.main import main

SMALL = [
    *("--baseline", "None", "--teacher.net.backbone.width", "0.0625", "--teacher.training.epochs", "1"),
    *("--strategy.epochs", "1", "--retrain.epochs", "1", "--retrain.validate-every", "0"),
    *("--machine.device", "cpu", "--evaluation.num-strips", "1"),
]
READS = ("recipes", "cost", "show", "runs", "serve", "completion", "verify")
"""Commands that write nothing."""
APART = ("tune", "ablate", "tabulate", "reproduce", "submit", "bench", "identity-table", "match", "pretrain")
"""Commands whose own tests see what they say."""
COMMANDS_THAT_WRITE = {
    "teach": "toy --out RUN",
    "search": "RUN",
    "retrain": "RUN",
    "evaluate": "RUN",
    "draw": "RUN",
    "export": "RUN --overwrite --no-measure",
    "report": "RUN",
    "data": "check pedestrians --num-train-ids 2 --num-test-ids 2 --images-per-id 4 --num-cameras 2 --sheet OUT/a.png",
    "compare": "RUN RUN:teacher --resamples 40 --out OUT",
    "features": "RUN RUN/strips --out OUT/f.safetensors",
    "find": "RUN RUN/strips/00.png RUN/strips --out OUT",
}
LINE = re.compile(r"\w+ \w+: (.+)")
WORKING = re.compile(r"tensorboard|.*\.(ckpt|jsonl)")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A whole run, and what its command printed."""
    folder, printed = tmp_path_factory.mktemp("files") / "run", io.StringIO()
    with redirect_stdout(printed):
        assert main(["run", "toy", "--out", str(folder), *SMALL]) == 0
    return folder, printed.getvalue()


def entries(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.iterdir()} if folder.is_dir() else {}


def said_in(text: str) -> list[str]:
    """The paths in the lines that a command ends with."""
    lines = text.splitlines()
    last = next((n for n, line in enumerate(reversed(lines)) if not LINE.fullmatch(line)), len(lines))
    return [LINE.fullmatch(line)[1] for line in lines[len(lines) - last :]]


def test_every_command_is_looked_at():
    assert {"run", *READS, *APART, *COMMANDS_THAT_WRITE} == set(COMMANDS)


def missing(new: set[str], said: list[str]) -> set[str]:
    """What was written and is not said, but for what stages need to go on."""
    return {name for name in new if not WORKING.fullmatch(name)} - {Path(path).name for path in said}


@pytest.mark.medium
def test_a_whole_run_says_all_that_it_wrote(run):
    folder, printed = run
    said = said_in(printed)
    assert said[0] == str(folder) and said[-1] == str(folder / "report.html")
    assert not missing({path.name for path in folder.iterdir()}, said)


@pytest.mark.medium
@pytest.mark.parametrize(
    ("word", "as_json"), [*((word, False) for word in COMMANDS_THAT_WRITE), ("draw", True), ("compare", True)]
)
def test_what_was_written_is_said_and_is_there(word, as_json, run, tmp_path, capsys, monkeypatch):
    run = run[0]
    monkeypatch.chdir(run.parent)
    out = tmp_path / "out"
    words = COMMANDS_THAT_WRITE[word].replace("RUN", "run").replace("OUT", str(out)).split()
    before = entries(run)
    capsys.readouterr()
    assert main([word, *words, *(SMALL if "toy" in words else []), *["--json"] * as_json]) == 0
    text = capsys.readouterr().out
    said = json.loads(text)["files"] if as_json else said_in(text)
    assert said and len(said) == len(set(said)) and all(Path(path).exists() for path in said)
    assert all(path.startswith(("run", str(out))) for path in said), "from the working folder, or in full"
    new = {path.name for path, when in entries(run).items() if before.get(path) != when}
    assert not missing(new | {path.name for path in entries(out)}, said)


def test_what_was_there_before_is_said_where_it_is_the_result(tmp_path):
    (tmp_path / "teacher.safetensors").write_text("")
    (tmp_path / "old.json").write_text("")
    files = Files(tmp_path)
    (tmp_path / "new.svg").write_text("")
    (tmp_path / "teach.ckpt").write_text("")
    result = tmp_path / "teacher.safetensors"
    assert files.written([result, tmp_path / "none"]) == [
        ("results folder", tmp_path),
        ("teacher weights", result),
        ("SVG picture", tmp_path / "new.svg"),
    ]


def test_paths_are_said_from_the_working_folder_where_they_are_inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert openable(Path("a/b.svg")) == openable(tmp_path / "a" / "b.svg") == "a/b.svg"
    assert openable(tmp_path.parent / "c") == str(tmp_path.parent / "c")
