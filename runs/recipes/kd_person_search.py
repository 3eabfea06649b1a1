"""Knowledge distillation for end-to-end person search (Munjal et al., BMVC 2019) on CUHK-SYSU, Tables 1 and 3.

A student learns another network's identity table (KD_reid), hears a detector (KD_det), or both. Search mAP / top-1, and
detection AP / recall; lambda is the weight of OIM's loss:

| network | lambda | ResNet-50 | ResNet-18 |
|---|---|---|---|
| Faster R-CNN | | 83.6 / 88.1 | 82.4 / 87.2 |
| OIM | 1 | 78.0 / 77.9, 75.2 / 82.7 | 69.1 / 68.0, 74.2 / 81.6 |
| OIM | 0.6 | | 79.9 / 80.4, 78.4 / 84.4 |
| OIM, KD_det | 1 | 78.3 / 77.5, 78.9 / 85.0 | 69.1 / 68.0, 77.5 / 83.7 |
| OIM, KD_reid | 0.1 | 81.2 / 81.0, 81.9 / 86.9 | 80.5 / 80.9, 80.6 / 85.9 |
| OIM, both | 0.1 | 80.3 / 79.9, 83.2 / 87.8 | 78.4 / 78.0, 82.0 / 86.9 |
| QEEPS | 1 | 84.4 / 84.4 | 76.6 / 76.0 |
| QEEPS, KD_reid from QEEPS | 0.1 | 85.0 / 85.5 | 84.1 / 84.3 |

Other weights are flags (`--loss.weight 0.6`, with KD_det and for QEEPS `--loss.each.weight`), other teachers too
(`--teacher.weights`). `nas reproduce kd_person_search` has all rows, and plain networks at each weight beside them.

The paper names neither epochs, learning rate and batches nor the scale and the queue of OIM. Here stand those of OIM's
first public code: one frame in a batch, SGD with 1e-3, 5 epochs (it took 50,000 steps), a scale of 10, a queue of
5,000, its anchors and its average pool. Its RoI head saw 128 regions, a quarter of them persons.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from nas.data.augment import SceneAugment
from nas.data.sampling import QueryPairs, Shuffled
from nas.data.scene_cache import SceneSize
from nas.data.sets.cuhk_sysu import CUHKSYSU
from nas.losses.base import Loss, WrappedLoss
from nas.losses.hints import HintLoss
from nas.losses.oim import DetectorKD, OIMLoss
from nas.losses.query_guided import QueryGuidedLoss
from nas.recipe import Recipe, TeacherRecipe
from nas.strategies.settings import Search
from nas.tasks.person_search.settings import SearchEvaluation
from nas.training.optimisers import SGD, MultiStepLR
from nas.training.settings import Training
from search_spaces.resnet import ResNet
from students.hinted import Hint, Hinted
from students.identity_table import Matching
from students.person_search import PersonSearch, RoIs
from students.query_guided import QueryGuided
from students.rpn import Anchors, Proposals
from students.space import StudentSpace

S = TypeVar("S", bound=PersonSearch)
Depth = Literal[18, 50]

TRAINED = Path("runs/out")
"""Where `nas run` leaves the networks that `oim_r50_both` and `oim_r18_both` are taught by."""


def det_r50() -> Recipe:
    """Faster R-CNN with ResNet-50, a detector alone, CUHK-SYSU. Expected detection AP 83.6, recall 88.1."""
    return _recipe(_network(PersonSearch, 50, embedding_dim=None))


def det_r18() -> Recipe:
    """Faster R-CNN with ResNet-18, a detector alone, CUHK-SYSU. Expected detection AP 82.4, recall 87.2."""
    return _recipe(_network(PersonSearch, 18, embedding_dim=None))


def oim_r50() -> Recipe:
    """OIM with ResNet-50 without a teacher, CUHK-SYSU. Expected search mAP / top-1 78.0 / 77.9, detection AP 75.2."""
    return _recipe(_network(PersonSearch, 50))


def oim_r18() -> Recipe:
    """OIM with ResNet-18 without a teacher, CUHK-SYSU. Expected search mAP / top-1 69.1 / 68.0, detection AP 74.2."""
    return _recipe(_network(PersonSearch, 18))


def oim_r50_kdreid() -> Recipe:
    """OIM with ResNet-50 and the identity table of another one (KD_reid). Expected 81.2 / 81.0, detection AP 81.9."""
    return with_table(oim_r50(), oim_r50())


def oim_r18_kdreid() -> Recipe:
    """OIM with ResNet-18 and the identity table of ResNet-50 (KD_reid). Expected 80.5 / 80.9, detection AP 80.6."""
    return with_table(oim_r18(), oim_r50())


def oim_r50_kddet() -> Recipe:
    """OIM with ResNet-50 under a detector with ResNet-50 (KD_det). Expected 78.3 / 77.5, detection AP 78.9."""
    return _hearing(oim_r50())


def oim_r18_kddet() -> Recipe:
    """OIM with ResNet-18 under a detector with ResNet-50 (KD_det). Expected 69.1 / 68.0, detection AP 77.5."""
    return _hearing(oim_r18())


def oim_r50_both() -> Recipe:
    """OIM with ResNet-50 under the networks of det_r50 and oim_r50, which come first. Expected 80.3 / 79.9, AP 83.2."""
    return _hearing_both(oim_r50_kdreid())


def oim_r18_both() -> Recipe:
    """OIM with ResNet-18 under the networks of det_r50 and oim_r50, which come first. Expected 78.4 / 78.0, AP 82.0."""
    return _hearing_both(oim_r18_kdreid())


def qeeps_r50() -> Recipe:
    """QEEPS with ResNet-50 without a teacher, CUHK-SYSU. Expected search mAP / top-1 84.4 / 84.4."""
    return _guided(50)


def qeeps_r18() -> Recipe:
    """QEEPS with ResNet-18 without a teacher, CUHK-SYSU. Expected search mAP / top-1 76.6 / 76.0."""
    return _guided(18)


def qeeps_r50_kdreid() -> Recipe:
    """QEEPS with ResNet-50 and the identity table of another QEEPS (KD_reid). Expected 85.0 / 85.5."""
    return with_table(qeeps_r50(), qeeps_r50())


def qeeps_r18_kdreid() -> Recipe:
    """QEEPS with ResNet-18 and the identity table of QEEPS with ResNet-50 (KD_reid). Expected 84.1 / 84.3."""
    return with_table(qeeps_r18(), qeeps_r50())


def oim_r50_strong() -> Recipe:
    """OIM with ResNet-50 as strong as public code has it, the plain network to beat: 88.1 / 89.2, PRW 36.0 / 76.7.

    Of deep-person-search: upright regions, their maximum, a warm-up, five frames in a batch, a scale of 30. Not the
    paper's.
    """
    net = _network(
        PersonSearch,
        50,
        pool="max",
        anchors=Anchors(sizes=(32.0, 64.0, 128.0, 256.0, 512.0), ratios=(0.5, 1.0, 2.0)),
        proposals=Proposals(),
        rois=RoIs(size=(14, 7), num_sampled=64),
        matching=Matching(queue_first=True),
    )
    optimiser = SGD(lr=3e-3, rate=MultiStepLR(milestones=(4,), warmup_epochs=1))
    recipe = _recipe(net)
    return replace(
        recipe, retrain=replace(recipe.retrain, epochs=7, optimiser=optimiser, sampling=Shuffled(batch_size=5))
    )


def with_table(student: Recipe, teacher: Recipe) -> Recipe:
    """The student with the identity table that the network of `teacher` ends with (KD_reid), lambda 0.1."""
    return replace(weighing(student, 0.1, fixed_table=True), teacher=as_teacher(teacher))


def as_teacher(recipe: Recipe) -> TeacherRecipe:
    """The recipe's network, trained as there, as a teacher."""
    return TeacherRecipe(net=recipe.retrained, loss=recipe.loss, training=recipe.retrain)


def weighing(recipe: Recipe, weight: float, **changed: Any) -> Recipe:
    """The recipe with this weight of OIM's loss (lambda), and whatever else of that loss is `changed`."""
    return replace(recipe, loss=_weighing(recipe.loss, weight, changed))


def _weighing(loss: Loss, weight: float, changed: dict[str, Any]) -> Loss:
    if isinstance(loss, WrappedLoss):
        return replace(loss, each=_weighing(loss.each, weight, changed))
    assert isinstance(loss, OIMLoss)
    return replace(loss, weight=weight, **changed)


def _hearing(student: Recipe) -> Recipe:
    """The student under a detector with ResNet-50 (Eq. 3)."""
    hinted = Hinted(main=student.space, hints=(Hint(student="layer3", teacher="layer3", channels=1024),))
    loss = HintLoss(each=replace(student.loss, detector=DetectorKD()), hints=("layer3",), hint_weight=0.5)
    return replace(student, space=hinted, loss=loss, teacher=as_teacher(det_r50()))


def _hearing_both(student: Recipe) -> Recipe:
    """The same, with an identity table from another teacher than the detector."""
    members = tuple(TRAINED / f"{name}-seed0" / "student.safetensors" for name in ("det_r50", "oim_r50"))
    return replace(_hearing(student), teacher=replace(as_teacher(oim_r50()), members=members))


def _guided(depth: Depth) -> Recipe:
    recipe, pairs = _recipe(_network(QueryGuided, depth)), QueryPairs(batch_size=1)
    return replace(
        recipe,
        loss=QueryGuidedLoss(each=recipe.loss),
        search=replace(recipe.search, sampling=pairs),
        retrain=replace(recipe.retrain, sampling=pairs),
    )


def _network(kind: type[S], depth: Depth, **changed: Any) -> S:
    fields: dict[str, Any] = {
        "backbone": ResNet(depth=depth),
        "anchors": Anchors(sizes=(128.0, 256.0, 512.0), ratios=(0.5, 1.0, 2.0)),
        "proposals": Proposals(channels=512),
        "rois": RoIs(share=0.25),
        "matching": Matching(scale=10.0),
    }
    return kind(**fields | changed)


def _recipe(net: StudentSpace) -> Recipe:
    """The network from ImageNet weights, without a teacher and a search."""
    training = Training(
        epochs=5,
        sampling=Shuffled(batch_size=1),
        augment=SceneAugment(),
        optimiser=SGD(lr=1e-3, rate=MultiStepLR(milestones=(4,))),
        pretrained="imagenet",
    )
    return Recipe(
        data=CUHKSYSU(root=Path("data")),
        images=SceneSize(),
        space=net,
        student=None,
        teacher=None,
        loss=OIMLoss(),
        strategy=None,
        search=Search(sampling=training.sampling, augment=training.augment),
        retrain=training,
        evaluation=SearchEvaluation(),
    )
