"""KSL's sum of losses: its switches, when its parts join, and what it is of a network without branches."""

from dataclasses import replace

import pytest
import torch

from nas.data.batches import Batch
from nas.losses.base import Loss
from nas.losses.kd import KDLoss
from nas.losses.kdas import KDASLoss
from nas.losses.ksl import KSLLoss
from nas.losses.vrkd import VRKDLoss
from nas.study.objective import SearchObjective
from nas.system.config import decode, encode
from students.losses import cross_entropy, ksl_ea, ksl_ep, ksl_h, ksl_pa, ksl_pp, triplet
from students.reid import ReIDOutput, TeacherOutput
from teachers.temperature import Constant, Linear

PARTS = ("aux", "pp", "pa", "ep", "ea", "h")
NONE = dict.fromkeys(PARTS, 0.0)


def output(seed: int, branches: tuple[ReIDOutput, ...] = ()) -> ReIDOutput:
    rng = torch.Generator().manual_seed(seed)
    logits, embedding = (torch.randn(8, size, generator=rng, dtype=torch.float64) for size in (5, 3))
    return ReIDOutput(logits, embedding, embedding, branches=branches)


OUT = output(0, (output(1), output(2)))
BATCH = Batch(torch.zeros(8), torch.arange(4).repeat_interleave(2))
TAUGHT = BATCH._replace(teacher=TeacherOutput(output(3).logits, output(3).embedding, {}))


def test_it_is_equation_1():
    branches = (OUT, *OUT.branches)
    logits, embeddings = [b.logits for b in branches], [b.embedding for b in branches]
    aux = sum(cross_entropy(b.logits, BATCH.labels) + triplet(b.embedding, BATCH.labels) for b in branches)
    agree = ksl_pp(logits) + ksl_pa(logits) + ksl_ep(embeddings) + ksl_ea(embeddings) + ksl_h(embeddings, BATCH.labels)
    assert KSLLoss()(OUT, BATCH, 0.0)["total"].item() == pytest.approx((aux + agree).item(), rel=1e-12)


@pytest.mark.parametrize("part", PARTS)
def test_each_part_has_its_weight(part):
    whole = KSLLoss()(OUT, BATCH, 0.0)
    alone = KSLLoss(**NONE | {part: 0.25})(OUT, BATCH, 0.0)
    assert alone.keys() == {"total", "identity", "triplet", "aux", part}
    assert alone[part] == whole[part]
    own = KDASLoss()(OUT, BATCH, 0.0)["total"]
    assert alone["total"].item() == pytest.approx((own + whole[part] / 4).item(), rel=1e-12)


def test_what_is_compared_may_be_the_feature_behind_the_neck():
    """The probabilities, and each branch's own triplet loss, stay where they are."""
    behind = [b._replace(feature=3 * b.embedding.flip(0), branches=()) for b in (OUT, *OUT.branches)]
    out = behind[0]._replace(branches=tuple(behind[1:]))
    before, after = KSLLoss()(out, BATCH, 0.0), KSLLoss(on="feature")(out, BATCH, 0.0)
    features = [b.feature for b in behind]
    oracle = {"ep": ksl_ep(features), "ea": ksl_ea(features), "h": ksl_h(features, BATCH.labels)}
    for part, value in oracle.items():
        assert after[part].item() == pytest.approx(value.item(), rel=1e-12) and after[part] != before[part]
    assert all(after[part] == before[part] for part in ("identity", "triplet", "aux", "pp", "pa"))


def test_the_distance_of_embeddings_may_join_with_the_triplet_losses():
    loss = KSLLoss(triplet_from=2, e_joins=True)
    early, late = (set(loss.at(epoch, 4)(OUT, BATCH, 0.0)) for epoch in (1, 2))
    assert late - early == {"ep", "ea", "h"} and {"pp", "pa", "aux"} <= early
    assert {"ep", "ea"} <= set(KSLLoss(triplet_from=2).at(1, 4)(OUT, BATCH, 0.0))


def test_margin_and_direction_of_imitation_are_heeded():
    plain, other = KSLLoss()(OUT, BATCH, 0.0), KSLLoss(each=KDASLoss(margin=1.5))(OUT, BATCH, 0.0)
    assert other["h"] == ksl_h([b.embedding for b in (OUT, *OUT.branches)], BATCH.labels, 1.5) > plain["h"]
    logits = OUT.logits.clone().requires_grad_()
    gradients = [
        torch.autograd.grad(
            KSLLoss(**NONE | {"pp": 1.0}, detached=detached)(OUT._replace(logits=logits), BATCH, 0.0)["total"], logits
        )[0]
        for detached in (True, False)
    ]
    assert not torch.allclose(*gradients)


@pytest.mark.parametrize("each", [KDASLoss(), KDLoss(), VRKDLoss(triplet_weight=1.0)])
def test_every_branch_hears_the_teacher(each):
    losses = KSLLoss(each=each)(OUT, TAUGHT, 2.0)
    own = [each(b, TAUGHT, 2.0) for b in (OUT, *OUT.branches)]
    assert losses["distill"] == own[0]["distill"]
    assert losses["aux"].item() == pytest.approx((own[1]["total"] + own[2]["total"]).item(), rel=1e-12)
    assert KSLLoss(each=each).temperature == each.temperature


@pytest.mark.parametrize("each", [KDASLoss(), KDLoss(alpha=0.5)])
def test_of_a_network_without_branches_it_is_its_own_loss(each):
    for batch in (BATCH, TAUGHT):
        assert KSLLoss(each=each)(output(0), batch, 2.0) == each(output(0), batch, 2.0)


def test_every_branch_gets_a_gradient_even_where_all_weights_are_zero():
    """A training differentiates all parameters, and refuses one that the loss does not know of."""
    leaves = [tensor.requires_grad_() for one in (4, 5) for tensor in output(one)[:2]]
    branch = ReIDOutput(leaves[2], leaves[3], leaves[3])
    total = KSLLoss(**NONE)(ReIDOutput(leaves[0], leaves[1], leaves[1], branches=(branch,)), BATCH, 0.0)["total"]
    gradients = torch.autograd.grad(total, leaves)
    assert gradients[0].any() and not gradients[2].any() and not gradients[3].any()


class TestTripletLossesJoin:
    loss = KSLLoss(triplet_from=3)

    def test_at_their_epoch(self):
        early, late = self.loss.at(2, 5)(OUT, BATCH, 0.0), self.loss.at(3, 5)(OUT, BATCH, 0.0)
        assert self.loss.at(3, 5) == self.loss and late.keys() - early.keys() == {"h"}
        without = KSLLoss(h=0.0, each=KDASLoss(triplet_weight=0.0))(OUT, BATCH, 0.0)
        assert early["total"] == without["total"] and late["total"] > early["total"]

    @pytest.mark.parametrize("triplet_from", [5, 6])
    def test_or_are_missed(self, triplet_from):
        late = replace(self.loss, triplet_from=triplet_from)
        with pytest.raises(ValueError, match=rf"join at epoch {triplet_from}, but there are 5: lower triplet_from"):
            late.at(0, 5)

    def test_in_a_search_too(self):
        objective = SearchObjective(self.loss, [], [], None, 5)
        net = lambda images: OUT  # noqa: E731
        for ask in (objective.loss, objective.alpha_loss):
            assert ["h" in ask(net, BATCH, epoch) for epoch in range(5)] == [False] * 3 + [True] * 2


def test_it_survives_a_configuration_file():
    loss = KSLLoss(each=KDLoss(temperature=Linear(start=4.0, end=1.0)), ep=0.5, triplet_from=7)
    assert decode(encode(loss), Loss) == loss
    assert KSLLoss(each=KDLoss()).temperature == Constant(value=5.0)
