"""What QEEPS adds to OIM's losses, against loops."""

import math
from dataclasses import replace

import pytest
import torch

from nas.losses.hints import HintLoss
from nas.losses.oim import OIMLoss
from nas.losses.query_guided import QueryGuidedLoss
from search_spaces.resnet import ResNet
from students.query_guided import QueryGuided
from students.scenes import TABLE, Guided
from tests.nas.losses.test_oim import ALONE, OUT, A, B, R, drawn, integers

GUIDED = Guided(
    objectness=drawn(B, A),
    anchor_labels=integers(-1, 2, B, A),
    sampled=integers(0, 2, B, A).bool(),
    similarity=drawn(R, 2),
    same=torch.tensor([1, 0, -1, 0, 1, -1, 0]),
)
OUT = OUT._replace(guided=GUIDED)


def test_it_is_oims_loss_and_both_parts_by_their_weights():
    anchors = []
    for at in [(b, a) for b in range(B) for a in range(A) if GUIDED.sampled[b, a]]:
        probability = 1 / (1 + math.exp(-GUIDED.objectness[at].item()))
        anchors.append(-math.log(probability if GUIDED.anchor_labels[at] == 1 else 1 - probability))
    persons = []
    for logits, same in zip(GUIDED.similarity.tolist(), GUIDED.same.tolist(), strict=True):
        if same >= 0:
            persons.append(-math.log(math.exp(logits[same]) / sum(map(math.exp, logits))))
    right = {"query_rpn": sum(anchors) / len(anchors), "similarity": sum(persons) / 5}
    each = OIMLoss(weight=0.3)
    found = QueryGuidedLoss(each=each, rpn_weight=0.5, similarity_weight=2.0)(OUT, ALONE, 0.0)
    plain = each(OUT, ALONE, 0.0)
    assert {name: found[name].item() for name in right} == pytest.approx(right, rel=1e-12)
    assert {name: found[name] for name in plain if name != "total"} == {
        name: plain[name] for name in plain if name != "total"
    }
    total = plain["total"].item() + 0.5 * right["query_rpn"] + 2 * right["similarity"]
    assert found["total"].item() == pytest.approx(total, rel=1e-12)


def test_a_network_that_no_query_guides_is_trained_for_the_rest():
    out, loss = OUT._replace(guided=None), QueryGuidedLoss()
    assert loss(out, ALONE, 0.0) == OIMLoss()(out, ALONE, 0.0)


def test_regions_of_nobody_count_nowhere():
    out = OUT._replace(guided=GUIDED._replace(same=torch.full((R,), -1)))
    assert QueryGuidedLoss()(out, ALONE, 0.0)["similarity"] == 0


def test_the_teacher_is_asked_for_what_is_heard_of_it():
    loss = QueryGuidedLoss(each=OIMLoss(weight=0.1, fixed_table=True))
    assert loss.teacher_maps == (TABLE,) and loss.listens(None) and loss.task == "person_search"
    HintLoss(each=loss, hints=("layer2",)).check(QueryGuided(backbone=ResNet()), 3)
    with pytest.raises(ValueError, match="QueryGuidedLoss.rpn_weight must be at least 0"):
        replace(loss, rpn_weight=-1.0)
