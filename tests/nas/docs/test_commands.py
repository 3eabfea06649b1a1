"""Every command that README and the manual show is run, where it needs no download and no data of others."""

import json
import re
import sys
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest
from PIL import Image

from nas.cli.find_recipe import recipes
from tests.nas.cli.program import nas
from tests.nas.docs.shown import MANUAL, ROOT, commands

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # as in the program: a toy's network may tell nobody apart, and it says so
]
PAGES = [ROOT / "README.md", *(page for page in sorted(MANUAL.rglob("*.md")) if commands(page))]
RUN = re.compile(r"(runs/out/(?:tune-)?)(\w+?)(?=-)")
ELSEWHERE = {
    "data check": "needs the data of others",
    "ablate --arms runs/studies/temperature.json --data.root data --storage": "needs a database",
    "serve": "goes on until it is interrupted",
    "submit": "its workers go on behind the test",
    "show runs/out/tune-fast_reid-distillation": "needs the study that was submitted",
    "run demo --track mlflow": "needs MLflow",
    "evaluate resnet50": "needs the data and weights of others",
    "evaluate student.onnx": "needs the data of others",
    "identity-table runs/out/small_resnet-seed0": "needs a run on Market-1501",
    "run street_demo --space.embedding-dim": "needs the table of that",
}
KDAS = {"runs/out/kdas-small-seed0": "run kdas --small"}
SEEDS = {
    f"runs/out/{recipe}-small-seed{seed}": f"run {recipe} --small --seed {seed}"
    for recipe in ("kdas", "kdas_constant")
    for seed in (0, 1)
}
BEFORE = {
    "export": {"runs/out/demo-small-seed0": "run demo --small"},
    "losses": KDAS,
    "runs": KDAS,
    "strategies": KDAS,
    "use": {
        "runs/out/demo-small-seed0": "run demo --small",
        "runs/out/street_demo-small-seed0": "run street_demo --small",
    },
    "students": KDAS,
    "studies": SEEDS,
    "evaluation": {
        **KDAS,
        "runs/out/kdas_baseline-small-seed0": "run kdas_baseline --small",
        "runs/out/demo-small-seed0": "run demo --small",
    },
    "person-search": {
        "runs/out/det": "teach street_kd_det --small --out runs/out/det",
        "runs/out/oim": "run street_demo --small --out runs/out/oim",
        "runs/out/street_demo-small-seed0": "run street_demo --small",
    },
}
"""The runs that the commands of a page take for granted, and how each is made."""


def at_toys_size(arguments: list[str]) -> list[str]:
    """The command with `--small` in place of the data of others, and with the folders that this makes."""
    text = " ".join(arguments)
    text = re.sub(r" --data(\.root)? data\b| --on veri776", "", text)
    text = re.sub(r"(--strategy.num-retrained) \d+", r"\1 2", text)
    text = text.replace("ablate-temperature", "ablate-temperature-small")
    text = RUN.sub(lambda match: f"{match[0]}-small" if match[2] in recipes() else match[0], text)
    word, subject, *rest = text.split()
    if word in ("ablate", "tabulate"):
        arms = text.replace("runs/studies", str(ROOT / "runs/studies")).replace(
            "--architectures 50", "--architectures 2"
        )
        return [*arms.split(), "--small", "--seeds", "2"]
    if word == "reproduce":
        return [word, subject, *rest, "--plan"]
    small = subject in recipes() and subject != "toy"
    few = word == "tune" and "grid" not in rest
    return [word, subject, *["--small"] * small, *rest, *["--trials", "2"] * few]


def write_images(folder: Path) -> None:
    """Ten people with four images each, listed in `list.csv`: six to train on."""
    rng, lines = np.random.default_rng(0), ["path,identity,camera,split"]
    (folder / "images").mkdir()
    for person in range(10):
        for number in range(4):
            name = f"images/{person}-{number}.jpg"
            Image.fromarray(rng.integers(0, 255, (64, 32, 3)).astype(np.uint8)).save(folder / name)
            split = "train" if person < 6 else "gallery" if number else "query"
            lines.append(f"{name},P{person},gate {number % 2},{split}")
    (folder / "list.csv").write_text("\n".join(lines))


def write_photos(folder: Path) -> None:
    """What the page on using a network has: photos, a folder of frames and a video, and boxes in it."""
    rng = np.random.default_rng(1)

    def drawn(height: int, width: int) -> Image.Image:
        return Image.fromarray(rng.integers(0, 255, (height, width, 3)).astype(np.uint8))

    for name in ("photos", "frames"):
        (folder / name).mkdir()
        for number in range(4):
            drawn(96, 144).save(folder / name / f"{number}.png")
    for name in ("query", "a", "b"):
        drawn(128, 64).save(folder / f"{name}.jpg")
    with av.open(str(folder / "gate.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 144, 96, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_image(drawn(96, 144))))
        container.mux(stream.encode())
    (folder / "gate.csv").write_text("frame,x,y,w,h,track\n0,10,10,30,60,a\n2,12,10,30,60,a\n")


def write_features(path: Path) -> None:
    rng = np.random.default_rng(0)
    parts = {"query": 4, "gallery": 12}
    arrays = {name: rng.normal(size=(number, 8)).astype(np.float32) for name, number in parts.items()}
    ids = {f"{name}_ids": np.arange(number) % 4 for name, number in parts.items()}
    cameras = {f"{name}_cameras": np.full(number, place) for place, (name, number) in enumerate(parts.items())}
    np.savez(path, **arrays, **ids, **cameras)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    write_images(folder)
    write_features(folder / "features.npz")
    write_photos(folder)
    recipe = (MANUAL / "own-classes.md").read_text().partition("```python\n")[2].partition("```")[0]
    (folder / "my_recipe.py").write_text(recipe)
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_run(page, place, monkeypatch, capfd):
    monkeypatch.chdir(place)
    failed = {}
    for folder, command in BEFORE.get(page.stem, {}).items():
        assert Path(folder).exists() or nas(*command.split()) == 0
    for arguments in commands(page):
        if any(" ".join(arguments).startswith(each) for each in ELSEWHERE) and "csv" not in arguments:
            continue
        if "t.safetensors" in arguments:
            Path("t.safetensors").write_bytes(Path("runs/out/kdas-small-seed0/teacher.safetensors").read_bytes())
        run = at_toys_size(arguments)
        capfd.readouterr()
        if nas(*run):
            failed[" ".join(run)] = capfd.readouterr().err.splitlines()[-1:]
    assert not failed


@pytest.mark.parametrize("page", ["evaluation", "library", "use"])
def test_programs_run(page, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    for folder, command in BEFORE.get(page, {}).items():
        assert Path(folder).exists() or nas(*command.split()) == 0
    for program in re.findall(r"^```python\n(.*?)^```", (MANUAL / f"{page}.md").read_text(), re.DOTALL | re.MULTILINE):
        exec(RUN.sub(lambda match: f"{match[0]}-small" if page == "use" else match[0], program), {})
    assert capsys.readouterr().out


def test_the_notebook_runs(monkeypatch, tmp_path, capsys):
    """Its cells, one after the other, with a stand-in for what only a notebook can show."""
    shown: list[str] = []
    display = ModuleType("IPython.display")
    vars(display).update(SVG=lambda filename: Path(filename).read_text(), display=shown.append)
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((MANUAL / "toy.ipynb").read_text())
    names: dict[str, object] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            exec("".join(cell["source"]), names)
    assert len(shown) == 1 and "<svg" in shown[0]
    said = capsys.readouterr().out
    assert "student" in said and "backbone.normal.2" in said and "torch.Size([2, 8])" in said
