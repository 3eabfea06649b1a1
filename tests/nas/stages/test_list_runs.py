"""What `nas runs` says of folders: as their files have it, and never an error because of one of them."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from nas.cli.find_recipe import recipe_named
from nas.run import Run
from nas.stages.list_runs import list_runs
from nas.study.place import Place
from nas.study.watch import note_study
from nas.system.progress import FAILED, LOG

HEAVY = ("torch", "optuna", "matplotlib", "numpy")
HOLDER = """
import sys, time
from pathlib import Path
from nas.system.at_work import AtWork
held = AtWork(Path(sys.argv[1]), "search")
print("at work", flush=True)
time.sleep(60)
"""


@pytest.fixture
def noted(tmp_path):
    """A run with nothing but its configuration and a log, whose last command is `nas WORD toy`."""

    def make(name: str, word: str = "run", *said: str) -> Path:
        folder = tmp_path / name
        Run(folder, "toy", replace(recipe_named("toy")[1], teacher=None)).note_recipe()
        lines = [
            "== 2026-01-02 03:04:05  nas search toy",
            "old 1/2  eta 9:99",
            f"== 2026-01-02 03:04:06  nas {word} toy",
        ]
        (folder / LOG).write_text("\n".join([*lines, *said]) + "\n")
        return folder

    return make


def measured(folder: Path) -> None:
    timing = {"runtime": "ONNX Runtime 1"}
    row = {"name": "s", "role": "student", "mAP": 0.5, "multiply_adds": 1_000, "ms_per_image_1": 2.0, "timing": timing}
    again = row | {"rerank": {"k1": 20}, "mAP": 0.9}
    (folder / "metrics.json").write_text(
        json.dumps({"format": 1, "rows": [{"role": "teacher", "name": "t"}, again, row]})
    )


def states(folder: Path) -> dict[str, str]:
    return {Path(row["run"]).name: row["state"] for row in list_runs(folder)}


def test_a_finished_run_has_its_students_numbers(noted, tmp_path):
    measured(noted("a/b/run"))
    (row,) = list_runs(tmp_path)
    assert (row["state"], row["recipe"], row["data"]) == ("finished", "toy", "Pedestrians")
    assert (row["mAP"], row["multiply_adds"], row["ms_per_image_1"]) == (0.5, 1_000, 2.0)
    assert row["runtime"] == "ONNX Runtime 1" and row["kind"] == "run" and 0 <= row["age_s"] < 60


def test_what_the_last_command_was_to_leave_decides(noted, tmp_path):
    noted("stopped", "run", "search 3/12  loss 1.0  eta 1:20")
    noted("failed", "run", "search 4/12  loss 1.0  eta 1:20", f"{FAILED}search: loss became nan")
    (noted("taught", "teach") / "teacher.safetensors").touch()
    (noted("begun", "teach") / "teach.ckpt").touch()
    (noted("searched", "search") / "architecture.json").touch()
    (noted("half", "retrain") / "student.safetensors").touch()
    wanted = {"stopped": "stopped", "failed": "failed", "taught": "finished", "begun": "stopped"}
    assert states(tmp_path) == wanted | {"searched": "finished", "half": "stopped"}
    by_name = {Path(row["run"]).name: row for row in list_runs(tmp_path)}
    assert by_name["failed"]["why"] == "search: loss became nan" and by_name["stopped"]["doing"] == "search 3/12"


def test_who_is_at_work_is_seen_and_who_was_killed_is_not(noted, tmp_path):
    folder = noted("run", "run", "search 3/12  loss 1.0  eta 1:20")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", HOLDER, str(folder)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "at work\n"
        (row,) = list_runs(tmp_path)
        assert (row["state"], row["doing"], row["eta"]) == ("running", "search 3/12", "1:20")
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert (folder / ".search.lock").exists()
    assert states(tmp_path) == {"run": "stopped"}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", "{"),
        ("config.json", '{"recipe": "a", "config": {"data": 1}}'),
        ("metrics.json", '{"rows": 3}'),
        ("metrics.json", '{"rows": [{"role": "student", "timing": 3}]}'),
        ("study.json", "[]"),
        ("study.json", '{"command": 1}'),
    ],
)
def test_a_damaged_run_is_listed_with_what_is_wrong(noted, tmp_path, file, content):
    (noted("bad") / file).write_text(content)
    measured(noted("good"))
    assert states(tmp_path) == {"bad": "damaged", "good": "finished"}
    assert file in next(row["why"] for row in list_runs(tmp_path) if row["state"] == "damaged")


def test_a_study_in_a_database_is_not_asked_for(tmp_path):
    place = Place(folder=tmp_path / "study", storage="postgresql://u:SECRET@nowhere.invalid/d")
    place.folder.mkdir()
    note_study(place, "tune", 20)
    (row,) = list_runs(tmp_path)
    assert (row["kind"], row["doing"], row["state"]) == ("tune", "20 trials", "stopped")


def test_the_last_one_worked_at_comes_first_and_what_is_no_run_is_passed_over(noted, tmp_path):
    for age, name in enumerate(("new", "old", "older")):
        for path in [*noted(name).iterdir()]:
            os.utime(path, (time.time() - 1000 * age,) * 2)
    noted("new/again")
    noted(".hidden/run")
    (tmp_path / "plots").mkdir()
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    assert [Path(row["run"]).name for row in list_runs(tmp_path)] == ["new", "old", "older"]


def test_no_folder_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="is not a folder: `nas runs FOLDER`"):
        list_runs(tmp_path / "nowhere")


@pytest.mark.medium
def test_hundreds_of_runs_need_no_torch_and_seconds(noted, tmp_path):
    first = noted("0")
    measured(first)
    files = {path.name: path.read_bytes() for path in first.iterdir()}
    for number in range(1, 300):
        (tmp_path / str(number)).mkdir()
        for name, content in files.items():
            (tmp_path / str(number) / name).write_bytes(content)
    script = (
        "import sys; from nas.cli.main import main; status = main(sys.argv[1:]);"
        f"print(status, *[name for name in {HEAVY} if name in sys.modules])"
    )
    since = time.process_time_ns()
    command = [sys.executable, "-c", script, "runs", str(tmp_path)]
    out = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]).stdout
    assert out.splitlines()[-1] == "0" and "300 runs: 300 finished" in out
    assert time.process_time_ns() - since < 10e9
