"""A run whose teacher's answers are remembered ends as one whose teacher is asked each time, to the bit."""

from dataclasses import replace

import pytest
import torch

from nas.data.augment import Augment
from nas.losses.kdas import KDASLoss
from nas.losses.labels import LabelLoss
from nas.losses.relations import RKDLoss
from nas.models.network import Network
from nas.run import Run
from nas.stages import teacher as stage_of_teacher
from nas.stages.retrain import retrain
from nas.stages.search import search
from nas.stages.teach import teach
from runs.recipes.demo import toy
from teachers.teacher import Teacher
from teachers.temperature import Constant, Linear

MIRRORED = Augment(crop_padding=0)
TOY = toy()
RECIPE = replace(
    TOY,
    baseline=None,
    strategy=replace(TOY.strategy, epochs=6),
    search=replace(TOY.search, augment=MIRRORED),
    retrain=replace(TOY.retrain, epochs=10, augment=MIRRORED),
    loss=RKDLoss(each=KDASLoss(temperature=Constant(value=2.0))),  # which hears logits and embedding
)


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A recipe whose teacher is trained."""
    folder = tmp_path_factory.mktemp("teacher")
    teach(Run(folder, "toy", RECIPE))
    return replace(RECIPE, teacher=replace(RECIPE.teacher, weights=folder / "teacher.safetensors"))


@pytest.fixture
def num_asked(monkeypatch):
    """How many images a teacher was asked about."""
    asked = []
    answer = Teacher.__call__
    monkeypatch.setattr(Teacher, "__call__", lambda self, images: asked.append(len(images)) or answer(self, images))
    return asked


def end_of(run):
    return Network.load(run.folder / "student.safetensors").net.state_dict()


@pytest.mark.medium
def test_a_remembered_teacher_changes_nothing_but_the_time(tmp_path, taught, num_asked, monkeypatch):
    run = Run(tmp_path / "remembered", "toy", taught)
    search(run)
    retrain(run)
    few = sum(num_asked)
    asked = Run(tmp_path / "asked", "toy", taught)
    with monkeypatch.context() as patched:
        patched.setattr(stage_of_teacher, "MOST_BYTES", 0)
        search(asked)
        retrain(asked)
    assert 0 < few < sum(num_asked) - few
    assert "views (0 MB of memory)" in (run.folder / "log.txt").read_text()
    histories = [(each.folder / "search.history.jsonl").read_text() for each in (run, asked)]
    assert histories[0] == histories[1]
    expected = end_of(asked)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in end_of(run).items())
    before = len(num_asked)
    search(Run(tmp_path / "later", "toy", taught))
    assert len(num_asked) == before + 2  # a rehearsal and a first look; the rest lies beside the teacher's weights


@pytest.mark.medium
@pytest.mark.parametrize(
    ("loss", "retrain_loss", "epochs"),
    [(LabelLoss(), None, 0), (KDASLoss(temperature=Linear(start=2.0, end=0.0)), LabelLoss(), 2)],
    ids=["labels", "falling"],
)
def test_nobody_asks_a_teacher_to_whom_no_loss_listens(tmp_path, taught, num_asked, loss, retrain_loss, epochs):
    """The temperature is 0 in the last of three epochs."""
    recipe = replace(taught, loss=loss, retrain_loss=retrain_loss, search=replace(taught.search, augment=Augment()))

    def asked(name: str, num_epochs: int) -> int:
        before = sum(num_asked)
        run = Run(tmp_path / name, "toy", replace(recipe, strategy=replace(recipe.strategy, epochs=num_epochs)))
        search(run)
        retrain(run)
        return sum(num_asked) - before

    assert asked("run", 3) == epochs * asked("one epoch", 1)
