"""Person search: the network around any backbone, what it trains on, finds and costs, and its supernets."""

import copy
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import box_iou

from nas.models.network import Network
from nas.strategies.bilevel import Bilevel
from nas.strategies.darts import DARTS
from nas.strategies.gdas import DrawnSupernet
from nas.strategies.single_path import PathSupernet, statistics_of
from nas.training.build import build_network
from nas.training.gradients import gradients_of
from nas.training.settings import Training
from search_spaces.cell import Cells
from search_spaces.cost.candidates import MultiplyAdds
from search_spaces.cost.counting import cost
from search_spaces.densenet import DenseNet
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.osnet import OSNet
from search_spaces.relaxed import Supernet
from search_spaces.resnet import ResNet
from search_spaces.sdc_cnn import SDCCNN
from search_spaces.shallow_cnn import ShallowCNN
from search_spaces.shufflenet_v2 import ShuffleNetV2
from search_spaces.space import SearchSpace
from students import regions
from students.cut import norms_of
from students.identity_table import Matching
from students.losses import box_regression, cross_entropy, objectness, oim
from students.person_search import BOX_WEIGHTS, Found, PersonSearch, RoIs
from students.rpn import Anchors, Proposals
from students.scenes import BACKGROUND, UNKNOWN, Scenes
from teachers.teacher import Teacher

SMALL = PersonSearch(
    backbone=ShallowCNN(widths=(1 / 16,)),
    num_ids=4,
    embedding_dim=16,
    stride=8,
    conv_head=8,
    anchors=Anchors(sizes=(24, 48), ratios=(2, 3)),
    proposals=Proposals(num_sampled=32, num_kept_at_test=20),
    rois=RoIs(size=(4, 4), num_sampled=16),
    matching=Matching(queue=6),
)
BACKBONES = {
    "resnet18": ResNet(width=1 / 8),
    "resnet50": ResNet(depth=50, width=1 / 16),
    "mobilenet_v2": MobileNetV2(width=0.1),
    "shufflenet_v2": ShuffleNetV2(width=0.1),
    "densenet": DenseNet(blocks=(1, 1, 1, 1), growth=4),
    "osnet": OSNet(width=1 / 8),
    "shallow_cnn": ShallowCNN(widths=(1 / 16,)),
    "sdc_cnn": SDCCNN(widths=(1 / 16,)),
    "cells": Cells(channels=4, cells=2, reductions=(2,)),
}
BOXES = torch.tensor([[10.0, 10, 34, 70], [60, 20, 88, 80], [90, 5, 112, 50]])


def scenes_of(seed=0, dtype=torch.float32, labels=((1, UNKNOWN, 3), ())):
    """Two images of 96x144 and 90x128 in a batch of 96x160."""
    images = torch.randn(2, 3, 96, 160, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return Scenes(
        images,
        torch.tensor([[96, 144], [90, 128]]),
        tuple(BOXES[: len(of_image)] for of_image in labels),
        tuple(torch.tensor(of_image, dtype=torch.int64) for of_image in labels),
        seed,
    )


def student_of(seed=0, **fields):
    torch.manual_seed(seed)
    return replace(SMALL, **fields).student()


def losses_of(out):
    return {
        "rpn_class": objectness(out.objectness, out.anchor_labels, out.sampled),
        "rpn_box": box_regression(out.deltas, out.anchor_targets, out.anchor_labels, out.sampled),
        "class": cross_entropy(out.class_logits, out.roi_labels),
        "box": box_regression(out.box_deltas, out.roi_targets, out.roi_labels),
        "oim": oim(out.id_logits, out.roi_ids),
    }


def total(out):
    return sum(losses_of(out).values())


class TestTraining:
    def test_shapes(self):
        out, num_anchors = student_of()(scenes_of()), 12 * 20 * 4
        assert out.objectness.shape == out.anchor_labels.shape == out.sampled.shape == (2, num_anchors)
        assert out.deltas.shape == out.anchor_targets.shape == (2, num_anchors, 4)
        num_rois = sum(map(len, out.rois))
        assert [len(rois) for rois in out.rois] == [16, 16] and out.anchors.shape == (num_anchors, 4)
        assert (out.class_logits.shape, out.box_deltas.shape) == ((num_rois, 2), (num_rois, 4))
        assert (out.embedding.shape, out.id_logits.shape) == ((num_rois, 16), (num_rois, 4 + 6))
        torch.testing.assert_close(out.embedding.norm(dim=1), torch.ones(num_rois))

    def test_what_is_right_is_right(self):
        out = student_of()(scenes_of())
        overlaps = box_iou(BOXES, out.rois[0])
        persons = overlaps.argmax(dim=0)
        assert torch.equal(out.roi_labels[:16], (overlaps.amax(dim=0) >= 0.5).long())
        for roi, label, person, target, identity in zip(
            out.rois[0], out.roi_labels, persons, out.roi_targets, out.roi_ids, strict=False
        ):
            if label == 1:
                assert identity == (1, UNKNOWN, 3)[person]
                torch.testing.assert_close(regions.decode(target, roi, BOX_WEIGHTS), BOXES[person])
            else:
                assert identity == BACKGROUND and not target.any()
        assert 3 <= out.roi_labels.sum() <= 8, "the persons' own boxes are there, and at most half are persons"
        assert not out.roi_labels[16:].any() and (out.roi_ids[16:] == BACKGROUND).all()
        for box in BOXES:  # whom no anchor overlaps by 0.7 the best anchor stands for
            assert (out.anchor_labels[0] == 1)[box_iou(box[None], out.anchors)[0].argmax()]

    def test_the_choice_depends_on_the_seed_alone(self):
        net, scenes = student_of(), scenes_of()
        outs = [copy.deepcopy(net)(scenes._replace(seed=seed)) for seed in (5, 5, 6)]
        assert torch.equal(outs[0].sampled, outs[1].sampled) and torch.equal(outs[0].rois[0], outs[1].rois[0])
        assert not torch.equal(outs[0].sampled, outs[2].sampled)
        torch.manual_seed(99)
        before = torch.get_rng_state()
        net(scenes)
        assert torch.equal(before, torch.get_rng_state())

    @pytest.mark.medium
    @pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
    def test_every_weight_learns(self, backbone):
        net = student_of(backbone=backbone)
        net(scenes_of())  # fills the identities' rows
        loss = total(net(scenes_of(1)))
        loss.backward()
        silent = [name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()]
        assert loss.isfinite() and not silent

    @pytest.mark.parametrize("labels", [((), ()), ((UNKNOWN,), (UNKNOWN, UNKNOWN)), ((BACKGROUND,), ())])
    def test_scenes_without_anybody_known(self, labels):
        net = student_of()
        losses = losses_of(net(scenes_of(labels=labels)))
        sum(losses.values()).backward()
        assert losses["oim"].item() == 0 and all(loss.isfinite() for loss in losses.values())
        assert all(weight.grad.isfinite().all() for weight in net.parameters() if weight.grad is not None)

    def test_autocast(self):
        net = student_of()
        with torch.autocast("cpu", torch.bfloat16):
            out = net(scenes_of())
        assert total(out).isfinite() and {out.deltas.dtype, out.embedding.dtype, out.id_logits.dtype} == {torch.float32}

    def test_a_detector_alone_has_no_identities(self):
        net = student_of(embedding_dim=None)
        out = net(scenes_of())
        assert out.embedding.shape == out.id_logits.shape == (32, 0)
        assert net.eval()(scenes_of()).detections[0].features.shape[1] == 0
        assert not any("identities" in name or "embedding" in name for name in net.state_dict())


class TestParts:
    def test_parameters_by_formula(self):
        num_anchors, dim = 12, 256
        for backbone, channels, head in (
            (ResNet(depth=18), 256, 512),
            (ResNet(depth=50), 1024, 2048),
        ):
            with torch.device("meta"):
                net = PersonSearch(backbone=backbone, num_ids=5).student()
                own = sum(weight.numel() for weight in backbone.student().parameters())
            rpn = 9 * channels**2 + channels + (channels + 1) * num_anchors * 5
            heads = (head + 1) * (2 + 4 + dim)
            assert sum(weight.numel() for weight in net.parameters()) == own + rpn + heads

    @pytest.mark.parametrize("name", ["resnet18", "shallow_cnn", "cells"])
    def test_maps_are_the_backbones_under_its_names(self, name):
        backbone = BACKBONES[name]
        net, scenes = student_of(backbone=backbone).eval(), scenes_of()
        expected = net.backbone(scenes.tensors)
        maps = net(scenes).maps
        assert list(maps) == list(net.where.base)
        assert all(torch.equal(one, expected[name]) for name, one in maps.items())
        assert {name for name in net.state_dict() if name.startswith("backbone.")} == {
            f"backbone.{name}" for name in backbone.student().state_dict()
        }

    @pytest.mark.parametrize("pool", ["average", "max"])
    def test_the_head_on_the_whole_image_is_the_backbones_end(self, pool):
        whole = torch.tensor([[0.0, 0.0, 160.0, 96.0]])
        net = student_of(backbone=BACKBONES["resnet18"], rois=RoIs(size=(12, 20), samples=1), pool=pool).eval()
        images = scenes_of().tensors
        end = net.backbone(images)["map"]
        pooled = end.mean(dim=(2, 3)) if pool == "average" else end.amax(dim=(2, 3))
        said = net.head(net.maps(images)["layer2"], [whole, whole])
        torch.testing.assert_close(said.embedding, F.normalize(net.embedding(pooled), dim=1))
        torch.testing.assert_close(said.class_logits, net.person(pooled))


class Halves(nn.Module):
    """Two stages without weights: the mean of 8x8 pixels, and a head that keeps its map."""

    out_channels = 3

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.AvgPool2d(8), nn.AvgPool2d(1)

    def stages(self):
        return {"first": [self.first], "second": [self.second]}


@dataclass(frozen=True, kw_only=True)
class HalvesSpace(SearchSpace):
    def build(self, pick, c_in=3):
        return Halves()


class TestFinding:
    @pytest.fixture
    def planted(self):
        """A network with heads set by hand, which finds a person of 16x32 pixels, shifted and grown by constant deltas,
        around each bright pixel of the map; a scene with two in the first image, and their boxes."""
        net = PersonSearch(
            backbone=HalvesSpace(),
            num_ids=2,
            embedding_dim=3,
            stride=8,
            pool="max",
            anchors=Anchors(sizes=(512**0.5,), ratios=(2,)),
            proposals=Proposals(num_kept_at_test=2),
            rois=RoIs(size=(4, 2)),
            found=Found(score=0.9),
        ).student()
        for weight in net.parameters():
            nn.init.zeros_(weight)
        with torch.no_grad():
            net.rpn.conv.weight[0, 0, 1, 1] = 1.0
            net.rpn.objectness.weight[0, 0] = 20.0
            net.rpn.deltas.bias.copy_(torch.tensor([0.25, 0.0, 0.0, 0.0]))
            net.person.weight[1, 0], net.person.bias[1] = 20.0, -5.0
            net.box.bias.copy_(torch.tensor([0.0, 1.25, 0.0, 0.0]))
            net.embedding.weight.copy_(torch.eye(3))
        scenes = scenes_of()
        images = torch.zeros_like(scenes.tensors)
        images[0, :, 32:40, 40:48] = torch.tensor([1.0, 0.5, 0.0])[:, None, None]
        images[0, :, 48:56, 104:112] = torch.tensor([1.0, 0.0, 0.5])[:, None, None]
        boxes = torch.tensor([[40.0 - 8 + 4, 32 - 16 + 4, 40 + 8 + 4, 32 + 16 + 4], [100, 36, 116, 68]])
        return net.eval(), scenes._replace(tensors=images), boxes

    def test_planted_persons_are_found(self, planted):
        net, scenes, boxes = planted
        first, second = net(scenes).detections
        torch.testing.assert_close(first.boxes[first.boxes[:, 0].argsort()], boxes)
        assert len(second.boxes) == 0 and (first.scores > 0.9).all()

    def test_features_tell_them_apart_and_are_those_of_their_boxes(self, planted):
        net, scenes, boxes = planted
        answer = net(scenes._replace(boxes=(boxes, boxes[:0])))
        [described, none], found = answer.described, answer.detections[0].features
        torch.testing.assert_close(described.norm(dim=1), torch.ones(2))
        assert described[0, 1] > 0.1 > described[0, 2] and described[1, 2] > 0.1 > described[1, 1]
        assert found.shape == (2, 3) and none.shape == (0, 3)

    def test_boxes_end_where_the_image_does_and_not_its_padding(self, planted):
        net, scenes, _ = planted
        boxes = net(scenes._replace(sizes=torch.tensor([[60, 110], [90, 128]]))).detections[0].boxes
        assert len(boxes) == 2 and boxes[:, 2].max() == 110 and boxes[:, 3].max() == 60

    def test_the_surest_of_those_that_do_not_overlap_are_found(self):
        for one in student_of(found=Found(score=0.4, most=7)).eval()(scenes_of()).detections:
            assert len(one.boxes) == 7 and (one.scores[:-1] >= one.scores[1:]).all()
            overlaps = box_iou(one.boxes, one.boxes).fill_diagonal_(0)
            assert overlaps.max() <= 0.4

    def test_the_boxes_that_come_along_are_described_by_the_head(self):
        net, scenes = student_of().eval(), scenes_of()
        answer = net(scenes)
        said = net.head(answer.maps[net.where.base[-1]], scenes.boxes).embedding
        assert [len(each) for each in answer.described] == [len(boxes) for boxes in scenes.boxes]
        assert torch.equal(torch.cat(answer.described), said)


class TestCost:
    def test_regions_are_counted_as_often_as_there_are(self):
        macs = [
            cost(student_of(proposals=Proposals(num_kept_at_test=number)), 96, 160).multiply_adds
            for number in (1, 2, 12)
        ]
        assert macs[2] - macs[0] == 11 * (macs[1] - macs[0]) > 0

    def test_without_regions_it_is_the_backbone_and_the_proposals(self):
        net, twice = (
            student_of(backbone=BACKBONES["resnet18"], proposals=Proposals(num_kept_at_test=number))
            for number in (1, 2)
        )
        one, two = (cost(each, 96, 160).multiply_adds for each in (net, twice))
        before = nn.Sequential(*(module for name in net.where.base for module in net.backbone.stages()[name]))
        channels = net.where.channels
        rpn = 12 * 20 * channels * (9 * channels + 4 * 5)
        assert one - (two - one) == cost(before, 96, 160).multiply_adds + rpn

    def test_the_price_of_candidates_is_that_of_students(self):
        table = MultiplyAdds.counted(SMALL, 96, 160)
        published = SMALL.published()
        assert table.predicted(published) == table.real(published)

    def test_a_rehearsal_without_values(self):
        with torch.device("meta"):
            net = SMALL.student()
        scenes = scenes_of()
        boxes, labels = (tuple(one.to("meta") for one in each) for each in (scenes.boxes, scenes.labels))
        out = net(Scenes(scenes.tensors.to("meta"), scenes.sizes.to("meta"), boxes, labels))
        assert [len(rois) for rois in out.rois] == [16, 16] and total(out).shape == ()


class TestSupernet:
    @pytest.fixture(params=["shallow_cnn", "resnet18", "cells"])
    def supernet(self, request):
        torch.manual_seed(0)
        net = Supernet.of(replace(SMALL, backbone=BACKBONES[request.param])).double()
        with torch.no_grad():
            net.alpha.normal_()
        net(scenes_of(dtype=torch.float64))
        return net

    @pytest.mark.medium
    def test_every_alpha_has_a_gradient_and_a_curvature(self, supernet):
        loss = total(supernet(scenes_of(1, torch.float64)))
        (gradient,) = torch.autograd.grad(loss, [supernet.alpha], create_graph=True)
        assert gradient.isfinite().all() and gradient[~supernet.absent].all() and not gradient[supernet.absent].any()
        product = torch.autograd.grad(gradient, [supernet.alpha], torch.ones_like(gradient))[0]
        assert product.isfinite().all() and product[~supernet.absent].any()

    def test_it_answers_in_eval_mode(self, supernet):
        answer = supernet.eval()(scenes_of(dtype=torch.float64))
        assert len(answer.detections) == 2 and answer.described[0].shape == (3, 16)

    def test_the_gradient_of_alphas_is_that_of_differences(self, monkeypatch):
        torch.manual_seed(0)
        net = Supernet.of(SMALL).double()
        scenes = scenes_of(1, torch.float64)
        net(scenes)
        net.net.identities.learning = False
        proposals = [BOXES.double() + shift for shift in (3, 40)]  # no gradient passes those that alphas move
        monkeypatch.setattr(net.net.rpn, "propose", lambda *_: proposals)

        def loss_at(alpha):
            with torch.no_grad():
                net.alpha.copy_(alpha)
            return total(net(scenes))

        start = net.alpha.detach().clone()
        (gradient,) = torch.autograd.grad(loss_at(start), [net.alpha])
        for place in ((0, 0), (len(start) - 1, 1)):
            step = torch.zeros_like(start)
            step[place] = 1e-6
            difference = (loss_at(start + step) - loss_at(start - step)) / 2e-6
            assert difference.item() == pytest.approx(gradient[place].item(), rel=1e-4, abs=1e-8)


class Batch:
    def __init__(self, images):
        self.images = images


class Objective:
    """What the steps of a search take from theirs."""

    def loss(self, net, batch, epoch):
        return {"total": total(net(batch.images))}

    alpha_loss = loss


class CPU:
    """What the steps of a search take from their stage."""

    def autocast(self):
        return torch.autocast("cpu", enabled=False)

    gradients = staticmethod(gradients_of)

    def mean(self, gradients):
        return gradients


class TestSearch:
    @pytest.mark.parametrize("order", [1, 2])
    def test_the_table_learns_in_weight_steps_and_rests_in_alpha_steps(self, order):
        torch.manual_seed(0)
        supernet = Supernet.of(SMALL)
        bilevel = Bilevel(DARTS(order=order), supernet, Objective(), CPU())
        train, validation = Batch(scenes_of()), Batch(scenes_of(1))
        bilevel.weight_step(train, 0)
        table = supernet.net.identities
        assert table.filled.tolist() == [False, True, False, True] and table.pointer > 0
        before, alpha = copy.deepcopy(table.state_dict()), supernet.alpha.detach().clone()
        bilevel.alpha_step(train, validation, 0)
        assert all(torch.equal(value, before[name]) for name, value in table.state_dict().items())
        assert supernet.alpha.isfinite().all() and not torch.equal(supernet.alpha, alpha)
        bilevel.weight_step(validation, 0)
        assert not torch.equal(table.table, before["table"])

    def test_gdas(self):
        torch.manual_seed(0)
        net = DrawnSupernet.of(SMALL)
        net(scenes_of())
        (gradient,) = torch.autograd.grad(total(net(scenes_of(1))), [net.alpha])
        assert gradient.isfinite().all() and gradient.any()

    def test_a_single_path_is_scored_without_a_trace(self):
        torch.manual_seed(0)
        net = PathSupernet.of(SMALL)
        net.path = SMALL.published()
        net(scenes_of())
        before = copy.deepcopy(net.state_dict())
        with statistics_of(net, [scenes_of(1)]):
            assert len(net(scenes_of()).detections) == 2
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items() if "num_b" not in name)


class TestNorms:
    def test_the_batchs_statistics_move(self):
        net = student_of(norms="batch")
        norm = next(iter(norms_of(net.backbone)))
        before = norm.running_mean.clone()
        net(scenes_of())
        assert not torch.equal(norm.running_mean, before)

    @pytest.mark.parametrize("norms", ["statistics", "all"])
    def test_fixed_statistics_stay_and_are_what_training_uses(self, norms):
        net = student_of(norms=norms)
        before = {name: value.clone() for name, value in net.backbone.named_buffers()}
        maps = net(scenes_of()).maps
        assert all(torch.equal(value, before[name]) for name, value in net.backbone.named_buffers())
        expected = net.eval()(scenes_of()).maps
        assert all(torch.equal(one, expected[name]) for name, one in maps.items())
        scales = [name for name, _ in net.backbone.named_parameters() if "norm" in name]
        assert bool(scales) == (norms == "statistics")

    def test_they_follow_the_weights_that_the_backbone_starts_from(self, tmp_path):
        assert SMALL.starting_from("").norms == "batch" and SMALL.starting_from("imagenet").norms == "statistics"
        assert replace(SMALL, norms="all").starting_from("weights.pth").norms == "all"
        torch.save(SMALL.backbone.student().state_dict(), tmp_path / "weights.pth")
        network = build_network(SMALL, None, (3, 4, 7, 9), Training(pretrained=str(tmp_path / "weights.pth")), 0)
        assert network.space.norms == "statistics" and not next(norms_of(network.net.backbone)).training
        assert build_network(SMALL, None, (3, 4, 7, 9), Training(), 0).space.norms == "batch"

    @pytest.mark.parametrize("norms", ["statistics", "all"])
    def test_fixed_ones_need_weights_and_no_supernet(self, norms):
        with pytest.raises(ValueError, match=f"norms='{norms}' keeps the statistics of pretrained weights"):
            replace(SMALL, norms=norms).starting_from("")
        with pytest.raises(ValueError, match=f"norms='{norms}' fixes them: leave norms out"):
            Supernet.of(replace(SMALL, norms=norms))


class TestSpace:
    def test_number_of_identities(self):
        space = replace(SMALL, num_ids=None)
        assert space.with_ids(9).with_ids(9).student().identities.table.shape == (9, 16)
        with pytest.raises(ValueError, match="num_ids must be the number of training identities"):
            space.student()
        with pytest.raises(ValueError, match="the network is for 9 identities, the data set has 7"):
            space.with_ids(9).with_ids(7)

    def test_decisions_are_the_backbones(self):
        inner = SMALL.backbone.published()
        assert SMALL.published().decisions == {f"backbone.{name}": answer for name, answer in inner.decisions.items()}
        assert SMALL.title == SMALL.backbone.title

    def test_a_file_has_the_table(self, tmp_path):
        net = student_of()
        net(scenes_of())
        path = Network(net, SMALL, SMALL.published(), (3, 4, 7, 9)).save(tmp_path / "student.safetensors")
        again = Network.load(path)
        assert again.space == SMALL and again.identities == (3, 4, 7, 9)
        assert torch.equal(again.net.identities.table, net.identities.table) and again.net.identities.filled.any()

    @pytest.mark.parametrize(
        "make, message",
        [
            (lambda: Proposals(positive=0.2), r"negative must be at most positive \(0.2\), not 0.3"),
            (lambda: RoIs(ignored=0.6), r"ignored must be below positive \(0.5\), not 0.6"),
        ],
    )
    def test_settings_that_contradict_each_other_are_refused(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()


class TestTeaching:
    def test_its_answers_to_anybodys_regions_are_its_heads(self):
        net, scenes = student_of().eval(), scenes_of()
        said = Teacher(copy.deepcopy(net), lambda: torch.autocast("cpu", enabled=False), ("layer1",))(scenes)
        base = list(net.maps(scenes.tensors).values())[-1]
        boxes = [BOXES, BOXES[:1] + 3]
        for one, other in zip(said.regions(boxes), net.head(base, boxes), strict=True):
            torch.testing.assert_close(one, other)
            assert not one.requires_grad
        objectness, deltas, anchors = net.rpn(base)
        torch.testing.assert_close(said.objectness, objectness)
        torch.testing.assert_close(said.deltas, deltas)
        assert torch.equal(said.anchors, anchors) and list(said.maps) == ["layer1"]

    def test_a_map_that_it_lacks_is_refused(self):
        with pytest.raises(ValueError, match="the teacher has no map layer9; it has layer1, layer2, layer3"):
            student_of().eval().teach(scenes_of(), ["layer9"])


def figures(num_scenes):
    """Scenes with two figures each: two colours, one above the other, by identity."""
    rng = torch.Generator().manual_seed(0)
    colours = torch.tensor([[2.0, 0, 0], [0, 2, 0], [0, 0, 2], [2, 2, 0]])
    images, boxes = 0.3 * torch.randn(num_scenes, 3, 96, 160, generator=rng), []
    labels = tuple(torch.tensor([scene % 4, (scene + 1) % 4]) for scene in range(num_scenes))
    for image, (left, right) in zip(images, labels, strict=True):
        corners = [(16 + 80 * k + int(torch.randint(30, (), generator=rng)), 8 + 16 * k) for k in range(2)]
        for (x, y), label in zip(corners, (left, right), strict=True):
            image[:, y : y + 24, x : x + 20] = colours[label][:, None, None]
            image[:, y + 24 : y + 48, x : x + 20] = colours[(label + 1) % 4][:, None, None]
        boxes.append(torch.tensor([[x, y, x + 20.0, y + 48] for x, y in corners]))
    return Scenes(images, torch.tensor([[96, 160]] * num_scenes), tuple(boxes), labels)


def test_it_learns_to_find_figures_and_to_tell_them_apart():
    scenes = figures(4)
    proposals = Proposals(num_sampled=32, num_scored=200, num_kept=50, num_kept_at_test=50)
    net = student_of(backbone=ShallowCNN(widths=(1 / 8,)), proposals=proposals, matching=Matching(queue=0, scale=10.0))
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    for step in range(40):
        optimiser.zero_grad()
        total(net(scenes._replace(seed=step))).backward()
        optimiser.step()
    with torch.no_grad():
        answer = net.eval()(scenes)
    for found, boxes, labels in zip(answer.detections, scenes.boxes, scenes.labels, strict=True):
        overlap, best = box_iou(boxes, found.boxes).max(dim=1)
        assert (overlap > 0.5).all()
        assert torch.equal((found.features[best] @ net.identities.table.T).argmax(dim=1), labels)
