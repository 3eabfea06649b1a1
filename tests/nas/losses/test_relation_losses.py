"""What relations add to a loss, what they need of a batch and of a teacher, and how they are put together."""

from dataclasses import replace

import pytest
import torch

from nas.cli.arguments import parse_recipe_args
from nas.cli.parts import loss_named
from nas.data.batches import Batch
from nas.data.sampling import Shuffled
from nas.losses import LOSSES
from nas.losses.dist import DISTLoss
from nas.losses.dkd import DKDLoss
from nas.losses.hints import HintLoss
from nas.losses.kd import KDLoss
from nas.losses.kdas import KDASLoss
from nas.losses.ksl import KSLLoss
from nas.losses.labels import LabelLoss
from nas.losses.relations import PKTLoss, RKDLoss, SimilarityLoss
from nas.models.network import Network
from nas.stages.teacher import rehearse
from runs.recipes.demo import toy
from students.ksl import KSL
from students.reid import ReID, ReIDOutput, TeacherOutput
from teachers.relations import pkt, rkd_angle, rkd_distance, similarity_preserving
from teachers.signals import dist, dkd, kd, kdas_distillation, standardise


@pytest.fixture
def said():
    """A student's output, and a batch of which a teacher with a wider embedding has said something."""
    rng = torch.Generator().manual_seed(0)
    logits, told = torch.randn(2, 8, 5, generator=rng, dtype=torch.float64)
    own, wider = (torch.randn(8, width, generator=rng, dtype=torch.float64) for width in (3, 7))
    labels = torch.arange(4).repeat_interleave(2)
    return ReIDOutput(logits, own, own), Batch(torch.zeros(8), labels, TeacherOutput(told, wider, {}))


@pytest.mark.parametrize(
    ("loss", "parts"),
    [
        (RKDLoss(), {"distance": (1.0, rkd_distance), "angle": (2.0, rkd_angle)}),
        (RKDLoss(distance_weight=25.0, angle_weight=0.0), {"distance": (25.0, rkd_distance)}),
        (SimilarityLoss(similarity_weight=7.0, centred=False), {"similarity": (7.0, similarity_preserving)}),
        (PKTLoss(pkt_weight=3.0, centred=False, each=KDASLoss()), {"pkt": (3.0, pkt)}),
    ],
)
def test_relations_are_added_to_any_loss(said, loss, parts):
    out, batch = said
    losses, alone = loss(out, batch, 2.0), loss.each(out, batch, 2.0)
    expected = {name: part(out.embedding, batch.teacher.embedding) for name, (_, part) in parts.items()}
    total = alone["total"] + sum(parts[name][0] * part for name, part in expected.items())
    assert losses.keys() == alone.keys() | parts.keys() and losses["total"].item() == pytest.approx(total.item())
    assert all(losses[name] == part for name, part in expected.items())
    assert loss(out, batch._replace(teacher=None), 2.0) == loss.each(out, batch._replace(teacher=None), 2.0)


@pytest.mark.parametrize(("loss", "part"), [(PKTLoss(), "pkt"), (SimilarityLoss(), "similarity")])
def test_what_all_embeddings_of_a_batch_share_says_nothing(said, loss, part):
    out, batch = said
    shifted = batch._replace(teacher=batch.teacher._replace(embedding=batch.teacher.embedding + 100))
    assert loss(out, shifted, 1.0)[part].item() == pytest.approx(loss(out, batch, 1.0)[part].item())
    assert loss(out, batch, 1.0)[part] != replace(loss, centred=False)(out, batch, 1.0)[part]


@pytest.mark.parametrize(
    ("loss", "parts"),
    [
        (DISTLoss(inter_weight=3.0, intra_weight=0.5), {"inter": 3.0, "intra": 0.5}),
        (DKDLoss(target_weight=3.0, others_weight=0.5), {"target": 3.0, "others": 0.5}),
    ],
)
def test_each_part_of_what_a_teacher_says_has_its_weight(said, loss, parts):
    out, batch = said
    losses, told = loss(out, batch, 2.0), batch.teacher.logits
    found = dist(out.logits, told, 2.0) if isinstance(loss, DISTLoss) else dkd(out.logits, told, batch.labels, 2.0)
    assert tuple(losses[name] for name in parts) == found
    weighted = sum(weight * losses[name] for name, weight in parts.items())
    assert losses["total"].item() == pytest.approx((losses["identity"] + losses["triplet"] + weighted).item())


def test_logits_are_standardised_where_that_is_asked_for(said):
    out, batch = said
    own, told = standardise(out.logits), standardise(batch.teacher.logits)
    assert KDLoss(standardised=True)(out, batch, 3.0)["distill"] == kd(own, told, 3.0)
    assert DKDLoss(standardised=True)(out, batch, 3.0)["others"] == dkd(own, told, batch.labels, 3.0)[1]
    expected = kdas_distillation(out.logits, batch.teacher.logits, batch.labels, 1.5, standardised=True)
    assert KDASLoss(standardised=True)(out, batch, 1.5)["distill"] == expected
    assert KDLoss(standardised=True)(out, batch, 3.0)["identity"] == KDLoss()(out, batch, 3.0)["identity"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RKDLoss(distance_weight=0.0, angle_weight=0.0), "RKDLoss needs a distance_weight or an angle_weight"),
        (lambda: SimilarityLoss(similarity_weight=0.0), "similarity_weight must be above 0"),
        (lambda: PKTLoss(pkt_weight=0.0), "pkt_weight must be above 0"),
        (lambda: DISTLoss(inter_weight=0.0, intra_weight=0.0), "DISTLoss needs an inter_weight or an intra_weight"),
        (lambda: DKDLoss(target_weight=0.0, others_weight=0.0), "DKDLoss needs a target_weight or an others_weight"),
    ],
)
def test_weights_that_leave_nothing_of_a_loss_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("embedding", [None, torch.zeros(8, 0)], ids=["none", "of no numbers"])
def test_a_teacher_without_an_embedding_is_named(said, embedding):
    out, batch = said
    teacher = batch.teacher._replace(embedding=embedding)
    with pytest.raises(
        ValueError, match=r"an embedding \[B, D\] of the teacher, and its output .TeacherOutput. has no"
    ):
        RKDLoss()(out, batch._replace(teacher=teacher), 1.0)


def test_it_is_found_before_any_work():
    class LogitsAlone(torch.nn.Module):
        def teach(self, images, maps):
            return TeacherOutput(images.new_zeros(len(images), 6), None, {})

    recipe = replace(toy(), loss=RKDLoss())
    assert recipe.needs_rehearsal and not toy().needs_rehearsal
    network = Network(LogitsAlone(), recipe.teacher.net, None, tuple(range(6)))
    with pytest.raises(ValueError, match="its output .TeacherOutput. has none: take a teacher that is a re-ID network"):
        rehearse(recipe, network, "its teacher")


@pytest.mark.parametrize("loss", [RKDLoss(), HintLoss(each=RKDLoss(), attention=(("map", "map"),))])
def test_what_is_around_it_needs_what_it_needs(loss):
    assert loss.compares_embeddings and loss.least_images == 3 and loss.listens(0.0)
    assert not KDASLoss().compares_embeddings and KDASLoss().least_images == 1


def test_maps_that_a_loss_inside_needs_are_asked_for():
    inner = HintLoss(attention=(("map", "layer3"),))
    assert RKDLoss(each=inner).teacher_maps == inner.teacher_maps == ("layer3",)


@pytest.mark.parametrize(
    ("loss", "num"),
    [
        (RKDLoss(), 3),
        (RKDLoss(angle_weight=0.0), 2),
        (PKTLoss(), 3),
        (SimilarityLoss(centred=False), 2),
        (DISTLoss(), 2),
    ],
)
@pytest.mark.parametrize("stage", ["search", "retraining"])
def test_batches_of_too_few_images_are_refused_before_any_work(loss, num, stage):
    recipe, few = replace(toy(), loss=loss), Shuffled(batch_size=num - 1)
    part = "search" if stage == "search" else "retrain"
    recipe = replace(recipe, **{part: replace(getattr(recipe, part), sampling=few)})
    with pytest.raises(ValueError, match=rf"the batches of the {stage} need at least {num} images, and have {num - 1}"):
        recipe.load()


def test_relations_of_a_network_with_branches_are_the_main_ones(said):
    out, batch = said
    branched = out._replace(branches=(out._replace(embedding=out.embedding.roll(1)),))
    loss = SimilarityLoss(each=KSLLoss(each=DKDLoss(), triplet_from=0))
    loss.check(KSL(main=ReID(backbone=toy().baseline.backbone), branches=("stage4",)), 2)
    losses = loss(branched, batch, 2.0)
    assert losses["aux"] > 0 and losses["similarity"] == SimilarityLoss()(out, batch, 2.0)["similarity"]


class TestNames:
    def test_relations_are_joined_to_a_loss_by_plus(self):
        assert loss_named("rkd") == RKDLoss(each=LabelLoss())
        assert loss_named("rkd+pkt+kdas") == RKDLoss(each=PKTLoss(each=KDASLoss()))

    def test_its_fields_are_set_by_flags(self):
        flags = ["--loss", "sp+kd", "--loss.similarity-weight", "5", "--loss.each.alpha", "0.5"]
        recipe, _ = parse_recipe_args(toy(), [*flags, "--retrain-loss", "pkt+dkd"], "nas", "")
        assert recipe.loss == SimilarityLoss(each=KDLoss(alpha=0.5), similarity_weight=5.0)
        assert recipe.retrain_loss == PKTLoss(each=LOSSES["dkd"])

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("rkb+kd", "no loss is named 'rkb' .did you mean 'rkd'"),
            ("rkd+", "no loss is named ''"),
            ("kd+rkd", r"--loss kd\+rkd: of several losses joined by \+ all but the last are rkd, sp, pkt"),
        ],
    )
    def test_what_cannot_be_joined_is_named(self, name, message):
        with pytest.raises(ValueError, match=message):
            loss_named(name)
