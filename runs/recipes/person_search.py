"""Person search (kd_person_search): OIM, and students that learn a teacher's identity table (KD_reid)."""

from __future__ import annotations

from nas.data.augment import SceneAugment
from nas.data.sampling import Shuffled
from nas.data.scene_cache import SceneSize
from nas.data.sets.street import Street
from nas.losses.oim import OIMLoss
from nas.recipe import Recipe, TeacherRecipe
from nas.tasks.person_search.settings import SearchEvaluation
from nas.training.machine import Machine
from nas.training.optimisers import Adam, CosineLR
from nas.training.settings import Training
from search_spaces.resnet import ResNet
from students.identity_table import Matching
from students.person_search import PersonSearch, RoIs
from students.rpn import Anchors, Proposals


def street_demo() -> Recipe:
    """Person search on synthetic streets: OIM teaches its table to a small detector (KD_reid), in minutes."""
    net = PersonSearch(
        backbone=ResNet(depth=18, width=0.25),
        embedding_dim=128,
        stride=8,
        anchors=Anchors(sizes=(24.0, 48.0, 96.0), ratios=(2.0, 3.0)),
        proposals=Proposals(num_sampled=64, num_scored=600, num_kept=200, num_scored_at_test=300, num_kept_at_test=50),
        rois=RoIs(size=(8, 4), num_sampled=32),
        matching=Matching(queue=64),
    )
    training = Training(
        epochs=24,
        sampling=Shuffled(batch_size=8),
        augment=SceneAugment(),
        optimiser=Adam(lr=2e-3, rate=CosineLR()),
        clip=10.0,
    )
    return Recipe(
        data=Street(),
        images=SceneSize(short_side=160, long_side=240),
        space=net,
        student=None,
        baseline=net,
        teacher=TeacherRecipe(net=net, loss=OIMLoss(weight=1.0), training=training),
        loss=OIMLoss(weight=0.1, fixed_table=True),
        strategy=None,
        retrain=training,
        evaluation=SearchEvaluation(),
        machine=Machine(threads=1),
    )
