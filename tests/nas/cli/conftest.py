"""A recipe that takes a second, a PostgreSQL of our own, and the program as a process of its own."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

OWN = '''
from dataclasses import replace
from nas.data.sets.pedestrians import (Pedestrians)
from nas.losses.kd import (KDLoss)
from nas.recipe import Recipe, TeacherRecipe
from runs.recipes.demo import toy
from search_spaces.resnet import ResNet
from students.reid import ReID

def tiny() -> Recipe:
    """A distillation that takes a second."""
    recipe = toy()
    net = ReID(backbone=ResNet(depth=18, width=1 / 16), embedding_dim=8)
    brief = replace(recipe.retrain, epochs=1, validate_every=1)
    return replace(recipe, data=Pedestrians(num_train_ids=8, num_test_ids=4, images_per_id=8, num_cameras=2, height=32,
                   width=16), space=net, student=None, baseline=None, strategy=None, loss=KDLoss(), retrain=brief,
                   teacher=TeacherRecipe(net=net, training=brief))

def harder() -> Recipe:
    """The same with more of the teacher."""
    return replace(tiny(), loss=KDLoss(alpha=0.5))
'''


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipes") / "recipes_of_the_tuning_test.py"
    path.write_text(OWN)
    return f"{path}:tiny"


class Database:
    """A PostgreSQL of our own in a temporary folder; not as root, who may not run one."""

    def __init__(self, programs: Path, folder: Path, user: str | None) -> None:
        self.programs, self.folder, self.user = programs, folder, user
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"postgresql://tuner@127.0.0.1:{self.port}/postgres"
        self.call("initdb", "-D", folder / "data", "-A", "trust", "-U", "tuner")
        self.control("start")

    def control(self, *what: str) -> None:
        options = ["-o", f"-p {self.port} -k {self.folder} -h 127.0.0.1"] if "start" in what else []
        self.call("pg_ctl", "-D", self.folder / "data", "-w", "-l", self.folder / "log", *options, *what)

    def call(self, program: str, *arguments: object) -> None:
        subprocess.run(
            [self.programs / program, *map(str, arguments)],
            check=True,
            user=self.user,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
        )


@pytest.fixture
def database():
    found = [Path(path).resolve().parent for path in [shutil.which("initdb")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if not found:
        pytest.skip("no PostgreSQL here: apt-get install postgresql brings it")
    user = "postgres" if os.geteuid() == 0 else None
    if user and user not in (entry.pw_name for entry in pwd.getpwall()):
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    folder = Path(tempfile.mkdtemp(prefix="tune-pg-"))
    if user:
        shutil.chown(folder, user)
    running = Database(found[0], folder, user)
    yield running
    running.control("stop", "-m", "immediate")
    shutil.rmtree(folder)
