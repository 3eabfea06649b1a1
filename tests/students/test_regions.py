"""Regions and boxes against torchvision's, and beyond it: images without persons, second derivatives."""

import math

import pytest
import torch
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou
from torchvision.ops import roi_align as torchvision_roi_align

from students import regions
from students.regions import choose, clip, decode, encode, match, place_anchors, roi_align, sample


def random_boxes(number, seed=0, height=64, width=96, outside=0.0, dtype=torch.float64):
    """Boxes of at least a pixel; with `outside` some of them reach that far out of the image."""
    rng = torch.Generator().manual_seed(seed)
    corners = torch.rand(number, 2, 2, generator=rng, dtype=dtype)
    corners = corners * (torch.tensor([width, height], dtype=dtype) + 2 * outside) - outside
    low = corners.amin(dim=1)
    return torch.cat([low, torch.maximum(corners.amax(dim=1), low + 1)], dim=1)


class TestRoIAlign:
    maps = torch.randn(2, 3, 8, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    boxes = (random_boxes(6, seed=1, outside=30), random_boxes(5, seed=2))

    @pytest.mark.parametrize("size", [(1, 1), (4, 2), (5, 7)])
    @pytest.mark.parametrize("samples", [1, 2, 3])
    def test_is_torchvisions_inside_and_outside_of_the_map(self, size, samples):
        expected = torchvision_roi_align(self.maps, list(self.boxes), size, 1 / 8, samples, aligned=True)
        actual = roi_align(self.maps, self.boxes, size, stride=8, samples=samples)
        torch.testing.assert_close(actual, expected, rtol=1e-13, atol=1e-13)

    def test_gradient_by_the_map_is_torchvisions(self):
        direction = torch.randn(11, 3, 4, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        gradients = []
        for align in (
            lambda maps: roi_align(maps, self.boxes, (4, 2), stride=8),
            lambda maps: torchvision_roi_align(maps, list(self.boxes), (4, 2), 1 / 8, 2, aligned=True),
        ):
            maps = self.maps.clone().requires_grad_()
            gradients += torch.autograd.grad((align(maps) * direction).sum(), maps)
        torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-13)

    def test_has_second_derivatives(self):
        maps = self.maps[:, :1, :4, :5].clone().requires_grad_()
        boxes = tuple(boxes[:2] / 2 for boxes in self.boxes)
        assert torch.autograd.gradcheck(lambda m: roi_align(m, boxes, (2, 2), 8).square(), maps)
        assert torch.autograd.gradgradcheck(lambda m: roi_align(m, boxes, (2, 2), 8).square(), maps)

    def test_the_whole_map_with_a_point_per_pixel_is_the_map(self):
        whole = torch.tensor([[0.0, 0.0, 96.0, 64.0]], dtype=torch.float64)
        torch.testing.assert_close(roi_align(self.maps, [whole, whole], (8, 12), 8, samples=1), self.maps)

    def test_images_without_boxes_give_no_rows(self):
        assert roi_align(self.maps, [self.boxes[0][:0], self.boxes[1]], (4, 2), 8).shape == (5, 3, 4, 2)

    def test_autocast_leaves_the_precision(self):
        with torch.autocast("cpu", torch.bfloat16):
            low = roi_align(self.maps.bfloat16(), self.boxes, (4, 2), 8)
        assert low.dtype == torch.float32
        torch.testing.assert_close(low, roi_align(self.maps.bfloat16().float(), self.boxes, (4, 2), 8))


@pytest.mark.parametrize("sizes, ratios", [((32, 64, 128, 256), (1, 2, 3)), ((24.0,), (0.5, 1.0, 2.0))])
def test_anchors_are_torchvisions(sizes, ratios):
    images = ImageList(torch.zeros(1, 3, 96, 160), [(96, 160)])
    [expected] = AnchorGenerator((sizes,), (ratios,))(images, [torch.zeros(1, 1, 6, 10)])
    assert torch.equal(place_anchors(6, 10, 16, sizes, ratios), expected)


class TestBoxCoder:
    boxes, references = random_boxes(20), random_boxes(20, seed=5)

    @pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)])
    def test_is_torchvisions(self, weights):
        coder = BoxCoder(weights)
        deltas = encode(self.boxes, self.references, weights)
        torch.testing.assert_close(deltas, coder.encode_single(self.boxes, self.references))
        wild = 20 * torch.randn(20, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        torch.testing.assert_close(decode(wild, self.references, weights), coder.decode_single(wild, self.references))

    def test_decodes_what_it_encodes(self):
        deltas = encode(self.boxes, self.references, (10.0, 10.0, 5.0, 5.0))
        torch.testing.assert_close(decode(deltas, self.references, (10.0, 10.0, 5.0, 5.0)), self.boxes)


class TestMatch:
    @pytest.mark.parametrize("keep_best", [False, True])
    @pytest.mark.parametrize("seed", range(4))
    def test_is_torchvisions(self, seed, keep_best):
        overlaps = box_iou(random_boxes(4, seed), random_boxes(60, seed + 10))
        expected = Matcher(0.7, 0.3, allow_low_quality_matches=keep_best)(overlaps)
        index, labels = match(overlaps, 0.7, 0.3, keep_best=keep_best)
        assert torch.equal(labels == 1, expected >= 0)
        assert torch.equal(labels == 0, expected == Matcher.BELOW_LOW_THRESHOLD)
        assert torch.equal(index[labels == 1], expected[labels == 1])

    def test_without_persons_all_is_background(self):
        index, labels = match(torch.zeros(0, 5), 0.7, 0.3, keep_best=True)
        assert index.tolist() == labels.tolist() == [0] * 5

    def test_a_person_whom_no_anchor_overlaps_makes_none_positive(self):
        overlaps = torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.2, 0.0]])
        assert match(overlaps, 0.7, 0.3, keep_best=True)[1].tolist() == [0, 1, 0]

    def test_thresholds_are_in_the_upper_class(self):
        overlaps = torch.tensor([[0.05, 0.1, 0.3, 0.5, 0.7]])
        assert match(overlaps, 0.7, 0.3)[1].tolist() == [0, 0, -1, -1, 1]
        assert match(overlaps, 0.5, 0.5, ignored=0.1)[1].tolist() == [-1, 0, 0, 1, 1]


class TestSample:
    labels = torch.tensor([1] * 30 + [0] * 200 + [-1] * 50)

    @staticmethod
    def drawn(labels, number, share, seed=0):
        return labels[sample(labels, number, share, torch.Generator().manual_seed(seed))].tolist()

    @pytest.mark.parametrize(
        "number, share, positives, negatives",
        [(20, 0.5, 10, 10), (100, 0.5, 30, 70), (100, 0.25, 25, 75), (1000, 0.5, 30, 200), (8, 0.0, 0, 8)],
    )
    def test_shares(self, number, share, positives, negatives):
        drawn = self.drawn(self.labels, number, share)
        assert (drawn.count(1), drawn.count(0), drawn.count(-1)) == (positives, negatives, 0)

    def test_depends_on_the_generator_alone(self):
        masks = [sample(self.labels, 20, 0.5, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
        assert torch.equal(masks[0], masks[1]) and not torch.equal(masks[0], masks[2])

    def test_every_candidate_is_as_likely(self):
        labels, rng = torch.tensor([1] * 4 + [0] * 4), torch.Generator().manual_seed(0)
        counts = sum(sample(labels, 4, 0.5, rng).int() for _ in range(800))
        assert all(abs(count - 400) < 5 * math.sqrt(200) for count in counts.tolist())


class TestChoose:
    def test_no_two_overlap_and_the_highest_come_first(self):
        boxes, scores = random_boxes(80), torch.rand(80, generator=torch.Generator().manual_seed(1)).double()
        kept = choose(boxes, scores, 0.4, most=80).tolist()
        order = sorted(range(80), key=lambda i: -scores[i])
        overlaps, expected = box_iou(boxes, boxes), []
        for i in order:
            if all(overlaps[i, j] <= 0.4 for j in expected):
                expected.append(i)
        assert kept == expected
        assert choose(boxes, scores, 0.4, most=5).tolist() == expected[:5]
        assert choose(boxes, scores, 0.4, 80, num_scored=3).tolist() == [i for i in expected if i in order[:3]]

    def test_flat_boxes_are_left_out_unless_there_are_no_others(self):
        boxes = torch.tensor([[1.0, 1, 1, 9], [2, 2, 8, 8]])
        assert choose(boxes, torch.tensor([0.9, 0.1]), 0.5, 5).tolist() == [1]
        assert choose(boxes[:1], torch.tensor([0.9]), 0.5, 5).tolist() == [0]


def test_clipped_boxes_are_inside_the_image():
    boxes = torch.tensor([[-3.0, -4, 200, 300], [5, 6, 7, 8]])
    assert clip(boxes, torch.tensor([64, 96])).tolist() == [[0, 0, 96, 64], [5, 6, 7, 8]]


def test_targets_are_of_the_positives_alone_and_finite():
    boxes, references = random_boxes(2), torch.cat([random_boxes(3, seed=1), torch.zeros(1, 4, dtype=torch.float64)])
    index, labels = torch.tensor([1, 0, 0, 0]), torch.tensor([1, 0, -1, 0])
    targets = regions.targets(boxes, references, index, labels)
    assert torch.equal(targets[0], encode(boxes[1:2], references[:1])[0]) and not targets[1:].any()
    assert not regions.targets(boxes[:0], references, index, labels).any()
