"""QEEPS: what guides a network by its query, and what it is without."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import box_iou, roi_align

from nas.models.network import Network
from search_spaces.cell import Cells
from search_spaces.cost.candidates import MultiplyAdds
from search_spaces.cost.counting import cost
from search_spaces.relaxed import Supernet
from search_spaces.resnet import ResNet
from search_spaces.shallow_cnn import ShallowCNN
from students.identity_table import Matching
from students.losses import objectness, oim, similarity
from students.person_search import Found, PersonSearch, RoIs
from students.query_guided import QRPN, QSSE, QSimNet, QueryGuided, for_each
from students.rpn import Anchors, Proposals
from students.scenes import BACKGROUND, TABLE, UNKNOWN, QueryFrames, Scenes

BACKBONES = {
    "shallow_cnn": ShallowCNN(widths=(1 / 16,)),
    "resnet18": ResNet(width=1 / 8),
    "cells": Cells(channels=4, cells=2, reductions=(2,)),
}
FIELDS = {
    "backbone": BACKBONES["shallow_cnn"],
    "num_ids": 4,
    "embedding_dim": 16,
    "stride": 8,
    "conv_head": 8,
    "anchors": Anchors(sizes=(24, 48), ratios=(2, 3)),
    "proposals": Proposals(num_sampled=32, num_kept_at_test=20),
    "rois": RoIs(size=(4, 4), num_sampled=16),
    "matching": Matching(queue=6),
    "found": Found(score=0.3),
}
OIM, GUIDED = PersonSearch(**FIELDS), QueryGuided(**FIELDS, reduction=2)
BOXES = torch.tensor([[10.0, 10, 34, 70], [60, 20, 88, 80], [90, 5, 112, 50]])


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def scenes_of(seed=0, labels=((1, UNKNOWN, 3), (2, 1)), asked=(1, 1), size=(128, 96), dtype=torch.float32):
    """Two images of 96x144 and 90x128, and in frames of another `size` the boxes of those who are looked for."""
    frames = drawn(2, 3, *size, seed=seed + 50, dtype=dtype)
    return Scenes(
        drawn(2, 3, 96, 160, seed=seed, dtype=dtype),
        torch.tensor([[96, 144], [90, 128]]),
        tuple(BOXES[: len(of_image)] for of_image in labels),
        tuple(torch.tensor(of_image, dtype=torch.int64) for of_image in labels),
        seed,
        query=QueryFrames(frames, torch.tensor([[8.0, 20, 40, 100], [30, 10, 60, 90]]), torch.tensor(asked)),
    )


def network(space=GUIDED, seed=0, **fields):
    torch.manual_seed(seed)
    return replace(space, **fields).student()


def without_guidance(net):
    """All weights of channels 1, and no logits of the query's."""
    for excitation in [*(each.excitation for each in net.excitations), net.query_rpn.excitation]:
        nn.init.zeros_(excitation[2].weight)
        nn.init.constant_(excitation[2].bias, 40.0)
    nn.init.zeros_(net.query_rpn.objectness.weight)
    return net


class TestModules:
    def test_channels_are_weighed_as_by_hand(self):
        net = QSSE(2, reduction=2).double()
        first, _, second, _ = net.excitation
        query, frame = drawn(1, 2, 3, 4), drawn(1, 2, 5, 2, seed=1)
        z = [*query[0].mean(dim=(1, 2)).tolist(), *frame[0].mean(dim=(1, 2)).tolist()]
        hidden = [
            max(0.0, sum(w * x for w, x in zip(row, z, strict=True)) + bias)
            for row, bias in zip(first.weight.tolist(), first.bias.tolist(), strict=True)
        ]
        assert len(hidden) == 2
        logits = [
            sum(w * x for w, x in zip(row, hidden, strict=True)) + bias
            for row, bias in zip(second.weight.tolist(), second.bias.tolist(), strict=True)
        ]
        weights = torch.sigmoid(torch.tensor(logits, dtype=torch.float64))[None, :, None, None]
        for found, before in zip(net(query, frame), (query, frame), strict=True):
            torch.testing.assert_close(found, weights * before, rtol=1e-12, atol=0)

    def test_weights_are_a_half_where_the_last_layer_is_0(self):
        net = QSSE(16, reduction=16)
        assert net.excitation[0].out_features == 2
        for part in (net.excitation[2].weight, net.excitation[2].bias):
            nn.init.zeros_(part)
        query, frame = torch.randn(2, 16, 3, 4), torch.randn(2, 16, 5, 2)
        assert all(map(torch.equal, net(query, frame), (query / 2, frame / 2)))

    def test_a_symmetric_layer_does_not_know_who_is_the_query(self):
        net = QSSE(3, reduction=1).double()
        with torch.no_grad():
            net.excitation[0].weight[:, 3:] = net.excitation[0].weight[:, :3]
        query, frame = drawn(2, 3, 4, 4), drawn(2, 3, 6, 2, seed=1)
        for one, other in zip(net(query, frame), reversed(net(frame, query)), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)

    def test_two_features_are_compared_as_by_hand(self):
        net = QSimNet(3).double()
        nn.init.uniform_(net.norm.weight)
        nn.init.uniform_(net.norm.bias)
        one, other = F.normalize(drawn(5, 3)), F.normalize(drawn(5, 3, seed=1))
        squared = (one - other).square()
        mean, variance = squared.mean(dim=0), squared.var(dim=0, unbiased=False)
        normed = (squared - mean) / (variance + net.norm.eps).sqrt() * net.norm.weight + net.norm.bias
        torch.testing.assert_close(net(one, other), normed @ net.same.weight.T + net.same.bias, rtol=1e-10, atol=1e-12)

    def test_the_same_feature_is_as_likely_the_same_person_as_a_difference_of_0(self):
        net = QSimNet(4).eval()
        nn.init.uniform_(net.norm.running_mean)
        feature = F.normalize(torch.randn(3, 4))
        nothing = F.batch_norm(torch.zeros(1, 4), net.norm.running_mean, net.norm.running_var)
        expected = net.same(nothing).softmax(dim=1).expand(3, 2)
        torch.testing.assert_close(net(feature, feature).softmax(dim=1), expected)

    @pytest.mark.parametrize("name", ["QSSE", "QRPN", "QSimNet"])
    def test_gradients_in_float64(self, name):
        torch.manual_seed(0)
        net, arguments = {
            "QSSE": (QSSE(2, reduction=1), (drawn(2, 2, 3, 2), drawn(2, 2, 2, 2, seed=1))),
            "QRPN": (QRPN(2, Anchors(sizes=(8.0,)), Proposals(), 1), (drawn(1, 2, 2, 2), drawn(1, 2, 3, 2, seed=1))),
            "QSimNet": (QSimNet(3), (drawn(4, 3), drawn(4, 3, seed=1))),
        }[name]
        net.double()
        if name == "QRPN":
            nn.init.normal_(net.conv.weight)
            nn.init.normal_(net.objectness.weight)
        leaves = [each.requires_grad_() for each in arguments]
        weights = list(net.parameters())
        assert torch.autograd.gradcheck(lambda *_: net(*leaves), [*leaves, *weights])

    def test_rows_are_repeated_for_each_image(self):
        assert for_each(torch.tensor([[1, 2], [3, 4]]), [2, 0]).tolist() == [[1, 2], [1, 2]]
        assert for_each(torch.tensor([5, 6]), [1, 2]).tolist() == [5, 6, 6]


class TestTraining:
    def test_shapes(self):
        out, num_anchors = network()(scenes_of()), 12 * 20 * 4
        guided = out.guided
        assert guided.objectness.shape == guided.anchor_labels.shape == guided.sampled.shape == (2, num_anchors)
        assert guided.similarity.shape == (32, 2) and guided.same.shape == (32,)
        assert out.objectness.shape == (2, num_anchors) and out.embedding.shape == (32, 16)

    def test_the_querys_person_alone_is_right(self):
        out = network()(scenes_of(labels=((1, UNKNOWN, 3), (2, 1)), asked=(3, 1)))
        for image, box in ((0, BOXES[2]), (1, BOXES[1])):
            overlap = box_iou(box[None], out.anchors)[0]
            positive = out.guided.anchor_labels[image] == 1
            assert positive[overlap.argmax()] and (overlap[positive] >= min(0.7, overlap.max())).all()
            assert positive.sum() < (out.anchor_labels[image] == 1).sum()
        persons = {1: 0, UNKNOWN: 0, 3: 1, BACKGROUND: -1}
        assert out.guided.same[:16].tolist() == [persons[each] for each in out.roi_ids[:16].tolist()]
        persons = {2: 0, 1: 1, BACKGROUND: -1}
        assert out.guided.same[16:].tolist() == [persons[each] for each in out.roi_ids[16:].tolist()]
        assert (out.guided.same == 1).any(dim=0) and (out.guided.same == 0).any(dim=0)

    @pytest.mark.parametrize("labels", [((2, 3, UNKNOWN), ()), ((), ()), ((BACKGROUND,), (UNKNOWN,))])
    def test_a_query_who_is_not_in_the_frame_is_no_positive_and_no_nan(self, labels):
        net = network()
        guided = net(scenes_of(labels=labels, asked=(1, 1))).guided
        assert not (guided.anchor_labels == 1).any() and not (guided.same == 1).any() and guided.sampled.any()
        losses = (
            objectness(guided.objectness, guided.anchor_labels, guided.sampled),
            similarity(guided.similarity, guided.same),
        )
        sum(losses).backward()
        assert all(loss.isfinite() for loss in losses)
        assert all(weight.grad.isfinite().all() for weight in net.parameters() if weight.grad is not None)

    @pytest.mark.medium
    @pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
    def test_every_weight_learns(self, backbone):
        net = network(backbone=backbone)
        net(scenes_of())  # fills the identities' rows
        out = net(scenes_of(1))
        parts = (out.objectness, out.deltas, out.class_logits, out.box_deltas, out.guided.objectness)
        total = sum(part.square().mean() for part in parts) + oim(out.id_logits, out.roi_ids)
        (total + similarity(out.guided.similarity, out.guided.same)).backward()
        silent = [name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()]
        assert not silent

    def test_what_is_drawn_is_what_oim_draws(self):
        plain, guided = network(OIM), without_guidance(network())
        guided.load_state_dict(plain.state_dict(), strict=False)
        for net in (plain, guided):
            for module in net.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        one, other = (net(scenes_of()) for net in (plain, guided))
        for name in ("objectness", "deltas", "sampled", "roi_ids", "id_logits", "embedding", "class_logits"):
            torch.testing.assert_close(getattr(one, name), getattr(other, name), msg=name)
        assert one.guided is None and not other.guided.objectness.any()

    def test_nobody_is_looked_for_without_a_query(self):
        with pytest.raises(ValueError, match=r"needs the query's frame and box .*sampling=QueryPairs"):
            network()(scenes_of()._replace(query=None))

    def test_autocast(self):
        net = network()
        with torch.autocast("cpu", torch.bfloat16):
            guided = net(scenes_of()).guided
        assert {guided.objectness.dtype, guided.similarity.dtype} == {torch.float32}


class TestFinding:
    def test_with_all_weights_1_it_finds_what_oim_finds(self):
        plain, guided = network(OIM).eval(), without_guidance(network()).eval()
        guided.load_state_dict(plain.state_dict(), strict=False)
        one, other = (net(scenes_of()) for net in (plain, guided))
        assert sum(len(each.boxes) for each in one.detections) > 2
        for mine, theirs in zip(one.detections, other.detections, strict=True):
            for a, b in zip(mine, theirs, strict=True):
                torch.testing.assert_close(a, b)
        assert one.similarities == () and [len(each) for each in other.similarities] == [
            len(each.scores) for each in other.detections
        ]

    def test_a_query_is_compared_by_the_feature_of_its_box(self):
        net, scenes = network().eval(), scenes_of()
        answer = net(scenes)
        seen = net.see(scenes.tensors, scenes.query)
        for image, (found, similar) in enumerate(zip(answer.detections, answer.similarities, strict=True)):
            logits = net.similarity(net.features_of(seen)[image], found.features)
            torch.testing.assert_close(similar, logits.softmax(dim=1)[:, 1])
            assert len(found.scores)
        torch.testing.assert_close(net.features_of(seen).norm(dim=1), torch.ones(2))

    def test_proposals_are_chosen_by_both_logits_and_the_query_sees_its_box_alone(self):
        net, scenes = network().eval(), scenes_of()
        weigh = []
        net.query_rpn.excitation.register_forward_hook(lambda _, given, __: weigh.append(given[0]))
        of_query = []
        net.excitations[-1].register_forward_hook(lambda *_: of_query.append(_[2][0]))
        seen = net.see(scenes.tensors, scenes.query)
        assert torch.equal(seen.scores, seen.objectness + seen.asked.objectness) and seen.asked.objectness.any()
        boxes = list(scenes.query.boxes[:, None])
        pooled = roi_align(of_query[0], boxes, net.space.rois.size, 1 / net.where.stride, 2, aligned=True)
        torch.testing.assert_close(weigh[0], pooled.mean(dim=(2, 3)))

    def test_nothing_found_has_no_similarities(self):
        net = network(found=Found(score=0.99)).eval()
        assert [len(each) for each in net(scenes_of()).similarities] == [0, 0]

    def test_a_pairs_answer_does_not_depend_on_the_others(self):
        net, scenes = network().eval(), scenes_of()
        both = net(scenes)
        one = net(
            Scenes(
                scenes.tensors[1:],
                scenes.sizes[1:],
                scenes.boxes[1:],
                scenes.labels[1:],
                query=QueryFrames(*(part[1:] for part in scenes.query)),
            )
        )
        torch.testing.assert_close(one.similarities[0], both.similarities[1])
        torch.testing.assert_close(one.detections[0].boxes, both.detections[1].boxes)


class TestCost:
    def test_a_pair_costs_two_bases_and_what_compares_them(self):
        plain, guided = network(OIM), network()
        one, two = (cost(each, 96, 160).multiply_adds for each in (plain, guided))
        before = nn.Sequential(*(module for name in plain.where.base for module in plain.backbone.stages()[name]))
        channels = plain.where.channels
        query_rpn = 12 * 20 * channels * (9 * channels + 4)
        assert two - one > cost(before, 96, 160).multiply_adds + query_rpn

    @pytest.mark.medium
    def test_the_price_of_candidates_is_that_of_students(self):
        table = MultiplyAdds.counted(GUIDED, 96, 160)
        published = GUIDED.published()
        assert table.predicted(published) == table.real(published)

    def test_a_supernet_is_trained_under_a_query(self):
        torch.manual_seed(0)
        net = Supernet.of(GUIDED)
        out = net(scenes_of())
        total = out.guided.objectness.square().mean() + similarity(out.guided.similarity, out.guided.same)
        (gradient,) = torch.autograd.grad(total, [net.alpha])
        assert gradient.isfinite().all() and gradient.any()

    def test_a_rehearsal_without_values(self):
        with torch.device("meta"):
            net = GUIDED.student()
        scenes = scenes_of()
        boxes, labels = (tuple(one.to("meta") for one in each) for each in (scenes.boxes, scenes.labels))
        query = QueryFrames(*(part.to("meta") for part in scenes.query))
        out = net(Scenes(scenes.tensors.to("meta"), scenes.sizes.to("meta"), boxes, labels, query=query))
        assert similarity(out.guided.similarity, out.guided.same).shape == ()


class TestSpace:
    def test_it_needs_a_feature(self):
        with pytest.raises(ValueError, match="QueryGuided.embedding_dim must be a number"):
            replace(GUIDED, embedding_dim=None)

    def test_a_file_gives_it_back(self, tmp_path):
        net = network()
        path = Network(net, GUIDED, GUIDED.published(), (3, 4, 7, 9)).save(tmp_path / "student.safetensors")
        again = Network.load(path)
        assert again.space == GUIDED and again.title.startswith("query-guided")
        assert torch.equal(again.net.query_rpn.conv.weight, net.query_rpn.conv.weight)

    def test_it_teaches_its_table_and_no_boxes(self):
        net = network()
        net.identities.fix(F.normalize(torch.randn(4, 16)))
        assert torch.equal(net.teach(None, (TABLE,)).maps[TABLE], net.identities.table)
        with pytest.raises(ValueError, match="this network is query-guided: it teaches its identity table alone"):
            net.teach(scenes_of(), ("layer1",))
