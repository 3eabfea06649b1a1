"""Person search (kd_person_search): OIM, students that learn a teacher's identity table (KD_reid), hear a detector
(KD_det), or both, and networks that the query guides (QEEPS)."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from nas.data.augment import SceneAugment
from nas.data.sampling import QueryPairs, Shuffled
from nas.data.scene_cache import SceneSize
from nas.data.sets.street import Street
from nas.losses.hints import HintLoss
from nas.losses.oim import DetectorKD, OIMLoss
from nas.losses.query_guided import QueryGuidedLoss
from nas.recipe import Recipe, TeacherRecipe
from nas.strategies.settings import Search
from nas.tasks.person_search.settings import SearchEvaluation
from nas.training.machine import Machine
from nas.training.optimisers import Adam, CosineLR
from nas.training.settings import Training
from search_spaces.resnet import ResNet
from students.hinted import Hint, Hinted
from students.identity_table import Matching
from students.person_search import PersonSearch, RoIs
from students.query_guided import QueryGuided
from students.rpn import Anchors, Proposals

S = TypeVar("S", bound=PersonSearch)


def street_demo() -> Recipe:
    """Person search on synthetic streets: OIM teaches its table to a small detector (KD_reid), in minutes."""
    net = small_network(PersonSearch)
    training = Training(
        epochs=13,
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
        search=Search(sampling=training.sampling, augment=training.augment),
        retrain=training,
        evaluation=SearchEvaluation(),
        machine=Machine(threads=1),
    )


def street_kd_det() -> Recipe:
    """Person search on synthetic streets: a detector without identities teaches a detector with them (KD_det)."""
    recipe = street_demo()
    assert recipe.teacher
    detector = replace(recipe.space, embedding_dim=None)
    return replace(
        recipe,
        space=Hinted(main=recipe.space, hints=(Hint(student="layer2", teacher="layer2", channels=32),)),
        teacher=replace(recipe.teacher, net=detector),
        loss=HintLoss(each=OIMLoss(detector=DetectorKD()), hints=("layer2",), hint_weight=0.5),
    )


def street_both() -> Recipe:
    """Person search on synthetic streets: one teacher is heard as a detector and gives its table (KD_det + KD_reid)."""
    return replace(street_demo(), loss=OIMLoss(weight=0.1, fixed_table=True, detector=DetectorKD()))


def qeeps() -> Recipe:
    """Person search guided by the query on synthetic streets (QEEPS), beside OIM on the same frames."""
    recipe = street_demo()
    return replace(
        recipe,
        data=Street(num_test_scenes=32, num_test_ids=16),
        space=replace(small_network(QueryGuided), reduction=4),
        teacher=None,
        loss=QueryGuidedLoss(each=OIMLoss(weight=1.0)),
        retrain=replace(recipe.retrain, sampling=QueryPairs(batch_size=8, pairs_per_id=5)),
    )


def qeeps_kd_reid() -> Recipe:
    """Person search guided by the query on synthetic streets, with the identity table of an OIM teacher (KD_reid)."""
    taught = street_demo()
    return replace(qeeps(), teacher=taught.teacher, loss=QueryGuidedLoss(each=taught.loss))


def small_network(kind: type[S]) -> S:
    """The network of the streets."""
    return kind(
        backbone=ResNet(depth=18, width=0.25),
        embedding_dim=128,
        stride=8,
        anchors=Anchors(sizes=(24.0, 48.0, 96.0), ratios=(2.0, 3.0)),
        proposals=Proposals(num_sampled=64, num_scored=600, num_kept=200, num_scored_at_test=300, num_kept_at_test=50),
        rois=RoIs(size=(8, 4), num_sampled=32),
        matching=Matching(queue=64),
    )


def toy_street() -> Recipe:
    """The demo of person search at a size for tests: every stage in a few seconds, the result means nothing."""
    net = PersonSearch(
        backbone=ResNet(depth=18, width=0.0625),
        embedding_dim=8,
        stride=8,
        anchors=Anchors(sizes=(16.0, 32.0), ratios=(2.0,)),
        proposals=Proposals(num_sampled=16, num_scored=60, num_kept=20, num_scored_at_test=30, num_kept_at_test=10),
        rois=RoIs(size=(4, 2), num_sampled=8),
        matching=Matching(queue=8),
    )
    brief = Training(
        epochs=2, sampling=Shuffled(batch_size=4), augment=SceneAugment(), optimiser=Adam(lr=2e-3), validate_every=2
    )
    recipe = street_demo()
    return replace(
        recipe,
        data=Street(
            num_train_scenes=12, num_test_scenes=6, num_train_ids=4, num_test_ids=4, num_cameras=2, height=64, width=96
        ),
        images=SceneSize(short_side=64, long_side=96),
        space=net,
        baseline=net,
        teacher=TeacherRecipe(net=net, loss=OIMLoss(), training=brief),
        retrain=brief,
        search=Search(sampling=Shuffled(batch_size=2), augment=SceneAugment()),
    )
