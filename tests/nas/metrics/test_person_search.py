"""Person search and detection against loops as the public scripts write them, and against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from nas.metrics.detection import box_iou, evaluate_detection
from nas.metrics.person_search import Boxes, evaluate_each_query, evaluate_person_search

SIZE = 60


def iou(a, b):
    width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def moved(boxes, rng, by):
    return boxes + rng.uniform(-by, by, boxes.shape)


def scene(seed, num_frames=12, num_ids=4, ties=False, twins=False):
    """Persons in frames, some of them empty, and noisy detections of them, some frames without any."""
    rng = np.random.default_rng(seed)
    true, found = [], []
    for frame in range(num_frames):
        people = [] if frame % 5 == 4 else rng.permutation(num_ids)[: rng.integers(1, num_ids + 1)].tolist()
        people += people[:1] * (twins and frame % 3 == 0)
        corners = rng.uniform(0, SIZE, (len(people), 2))
        boxes = np.concatenate([corners, corners + rng.uniform(4, 20, corners.shape)], axis=1)
        true += [(frame, box, who if rng.random() > 0.1 else -1) for who, box in zip(people, boxes, strict=True)]
        if frame % 6 == 3:
            continue
        for who, box in zip(people, boxes, strict=True):
            for _ in range(rng.integers(0, 3)):
                direction = np.eye(8)[who] + rng.normal(0, 0.0 if ties else 0.5, 8)
                found.append((frame, moved(box, rng, 2.5), rng.random(), direction))
        found.append((frame, moved(np.array([1.0, 1, 9, 9]), rng, 1), rng.random(), rng.normal(0, 1, 8)))
    frames, boxes, ids = zip(*true, strict=True)
    truth = Boxes(frames=np.array(frames), boxes=np.array(boxes), ids=np.array(ids))
    frames, boxes, scores, features = zip(*found, strict=True)
    features = torch.tensor(np.array(features), dtype=torch.float32)
    return truth, Boxes(frames=np.array(frames), boxes=np.array(boxes), features=features), np.array(scores)


def asked(truth, rng, num=9):
    known = rng.permutation(np.flatnonzero(truth.ids >= 0))[:num]
    features = torch.tensor(np.eye(8)[truth.ids[known]] + rng.normal(0, 0.2, (len(known), 8)), dtype=torch.float32)
    return Boxes(frames=truth.frames[known], boxes=truth.boxes[known], ids=truth.ids[known], features=features)


def by_loop(queries, detected, truth, galleries):
    """As OIM's public scripts, with a frame once, any of a person's boxes, and stable order; None where skipped."""
    similarity = (
        torch.nn.functional.normalize(queries.features.double())
        @ torch.nn.functional.normalize(detected.features.double()).T
    ).numpy()
    results = []
    for q in range(len(queries)):
        labels, values, num_true, num_found = [], [], 0, 0
        for frame in dict.fromkeys(galleries[q].tolist()):
            person = [
                box
                for f, box, who in zip(truth.frames, truth.boxes, truth.ids, strict=True)
                if f == frame and who == queries.ids[q]
            ]
            num_true += bool(person)
            taken = False
            mine = [d for d in range(len(detected)) if detected.frames[d] == frame]
            for d in sorted(mine, key=lambda d: -similarity[q, d]):
                fits = any(
                    iou(detected.boxes[d], box)
                    >= min(
                        0.5, (box[2] - box[0]) * (box[3] - box[1]) / ((box[2] - box[0] + 10) * (box[3] - box[1] + 10))
                    )
                    for box in person
                )
                labels.append(fits and not taken)
                values.append(similarity[q, d])
                num_found += fits and not taken
                taken = taken or fits
        if not num_true:
            results.append(None)
            continue
        ap = average_precision_score(labels, values) * num_found / num_true if num_found else 0.0
        order = np.argsort(-np.array(values), kind="stable")
        first = 1 + np.flatnonzero(np.array(labels)[order])[0] if num_found else 0
        results.append((ap, first))
    return results


@pytest.mark.parametrize("twins", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_search_is_the_public_loop(seed, twins):
    truth, detected, _ = scene(seed, twins=twins)
    rng = np.random.default_rng([seed, 1])
    queries = asked(truth, rng)
    galleries = [rng.permutation(12)[: rng.integers(3, 12)] for _ in range(len(queries))]
    galleries[0] = np.concatenate([galleries[0], galleries[0][:2]])  # as TestG100 lists frames twice
    wanted = by_loop(queries, detected, truth, galleries)
    result = evaluate_person_search(queries, detected, truth, galleries, block=4)
    assert np.isnan(result.average_precision).tolist() == [each is None for each in wanted]
    kept = [each for each in wanted if each is not None]
    done = ~np.isnan(result.average_precision)
    np.testing.assert_allclose(result.average_precision[done], [ap for ap, _ in kept], atol=1e-12)
    assert result.first_match_rank[done].tolist() == [first for _, first in kept]
    assert result.num_skipped == len(wanted) - len(kept)
    assert result.mAP == pytest.approx(np.mean([ap for ap, _ in kept]))
    for k in (1, 5):
        assert result.rank(k) == pytest.approx(np.mean([0 < first <= k for _, first in kept]))


def only(boxes: Boxes, places: np.ndarray) -> Boxes:
    parts = {name: part[places] for name, part in vars(boxes).items() if part is not None}
    return Boxes(**parts)


@pytest.mark.parametrize("seed", range(3))
def test_detections_of_each_query_are_ranked_as_if_it_were_alone(seed):
    truth, detected, _ = scene(seed)
    rng = np.random.default_rng([seed, 2])
    queries, cameras = asked(truth, rng), rng.integers(0, 3, 12)
    own = [rng.permutation(len(detected))[: rng.integers(0, len(detected) + 1)] for _ in range(len(queries))]
    cosines = torch.cosine_similarity(queries.features[:, None], detected.features, dim=2).numpy()
    similarities = [cosines[query, places] for query, places in enumerate(own)]
    found = [Boxes(frames=detected.frames[places], boxes=detected.boxes[places]) for places in own]
    together = evaluate_each_query(queries, found, similarities, truth, cameras=cameras, num_best=3)
    skipped = []
    for query, places in enumerate(own):
        try:
            alone = evaluate_person_search(
                only(queries, np.array([query])), only(detected, places), truth, cameras=cameras, num_best=3
            )
        except ValueError:
            skipped.append(query)
            continue
        assert together.average_precision[query] == pytest.approx(alone.average_precision[0], abs=1e-12)
        assert together.first_match_rank[query] == alone.first_match_rank[0]
        assert (together.best[query] == alone.best[0]).all() and (together.right[query] == alone.right[0]).all()
    assert np.flatnonzero(np.isnan(together.average_precision)).tolist() == skipped


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda found, similar: (found[:-1], similar),
            "each of 2 queries needs detections and similarities of its own",
        ),
        (lambda found, similar: (found, [similar[0], similar[1][:-1]]), "detections of query 1 need a frame"),
        (lambda found, similar: (found, [similar[0], similar[1] * np.nan]), "those of query 1 are not"),
    ],
)
def test_detections_of_queries_that_do_not_fit_are_refused(change, message):
    truth, detected, _ = scene(0)
    queries = only(asked(truth, np.random.default_rng(0)), np.arange(2))
    found = [Boxes(frames=detected.frames, boxes=detected.boxes)] * 2
    with pytest.raises(ValueError, match=message):
        evaluate_each_query(queries, *change(found, [np.zeros(len(detected))] * 2), truth)


def test_every_frame_but_its_own_where_there_are_no_galleries():
    truth, detected, _ = scene(0)
    queries = asked(truth, np.random.default_rng(0))
    others = [np.delete(np.arange(12), frame) for frame in queries.frames]
    listed, all_others = (evaluate_person_search(queries, detected, truth, each) for each in (others, None))
    np.testing.assert_array_equal(listed.average_precision, all_others.average_precision)


def test_frames_of_the_own_camera_are_out_where_cameras_are_given():
    truth, detected, _ = scene(1)
    queries, cameras = asked(truth, np.random.default_rng(0)), np.arange(12) % 2
    others = [np.flatnonzero(cameras != cameras[frame]) for frame in queries.frames]
    wanted = evaluate_person_search(queries, detected, truth, others)
    result = evaluate_person_search(queries, detected, truth, cameras=cameras)
    np.testing.assert_array_equal(wanted.average_precision, result.average_precision)


def test_equal_similarities_rank_in_the_order_of_the_detections():
    boxes = np.array([[0, 0, 10, 20], [30, 0, 40, 20]], dtype=float)
    truth = Boxes(frames=np.array([0, 1]), boxes=boxes[[0, 0]], ids=np.array([7, 7]))
    detected = Boxes(frames=np.array([1, 1]), boxes=boxes[[1, 0]], features=torch.ones(2, 3))
    query = Boxes(frames=np.array([0]), boxes=boxes[:1], ids=np.array([7]), features=torch.ones(1, 3))
    assert evaluate_person_search(query, detected, truth).average_precision.tolist() == [0.5]


def perfect(truth):
    features = torch.eye(8)[np.where(truth.ids < 0, 7, truth.ids)]
    return Boxes(frames=truth.frames, boxes=truth.boxes, features=features)


def test_true_boxes_with_the_identity_as_feature_are_perfect():
    truth, _, _ = scene(2)
    everyone = truth.ids >= 0
    queries = Boxes(
        frames=truth.frames[everyone],
        boxes=truth.boxes[everyone],
        ids=truth.ids[everyone],
        features=torch.eye(8)[truth.ids[everyone]],
    )
    result = evaluate_person_search(queries, perfect(truth), truth)
    assert result.mAP == result.rank(1) == 1.0
    assert result.right[:, 0].all() and (result.best[:, 0] >= 0).all()
    detection = evaluate_detection(truth.frames, truth.boxes, np.ones(len(truth)), truth.frames, truth.boxes)
    assert detection.ap == detection.recall == 1.0


def test_nothing_detected_finds_nothing_and_counts_every_frame():
    truth, _, _ = scene(3)
    queries = asked(truth, np.random.default_rng(0))
    none = Boxes(frames=np.empty(0, dtype=np.int64), boxes=np.empty((0, 4)), features=torch.empty(0, 8))
    result = evaluate_person_search(queries, none, truth)
    assert result.mAP == result.rank(1) == 0 and (result.best == -1).all()
    detection = evaluate_detection(none.frames, none.boxes, np.empty(0), truth.frames, truth.boxes)
    assert (detection.ap, detection.recall, detection.right.size) == (0, 0, 0)


@pytest.mark.parametrize("num_best", [0, 1, 5, 12])
@pytest.mark.parametrize("ties", [False, True])
def test_the_best_frames_are_the_nearest_boxes_of_each(num_best, ties):
    truth, detected, _ = scene(4, ties=ties)
    queries = asked(truth, np.random.default_rng(0))
    result = evaluate_person_search(queries, detected, truth, num_best=num_best)
    similarity = torch.nn.functional.normalize(queries.features) @ torch.nn.functional.normalize(detected.features).T
    for q in range(len(queries)):
        nearest = {
            frame: max(np.flatnonzero(detected.frames == frame), key=lambda d: similarity[q, d].item())
            for frame in set(detected.frames.tolist()) - {queries.frames[q]}
        }
        wanted = sorted(nearest.values(), key=lambda d: (-similarity[q, d].item(), d))[:num_best]
        assert result.best[q].tolist() == wanted + [-1] * (num_best - len(wanted))
        assert not result.right[q, len(wanted) :].any()


def test_small_boxes_need_less_overlap():
    person = np.array([[0, 0, 10, 10.0]])
    shifted = person + np.array([4, 0, 4, 0])  # IoU 0.43, needed 0.25
    truth = Boxes(frames=np.array([0, 1]), boxes=person[[0, 0]], ids=np.array([1, 1]))
    query = Boxes(frames=np.array([0]), boxes=person, ids=np.array([1]), features=torch.ones(1, 2))
    detected = Boxes(frames=np.array([1]), boxes=shifted, features=torch.ones(1, 2))
    assert evaluate_person_search(query, detected, truth).mAP == 1
    away = Boxes(frames=np.array([1]), boxes=person + np.array([7, 0, 7, 0]), features=torch.ones(1, 2))  # IoU 0.18
    assert evaluate_person_search(query, away, truth).mAP == 0


def detection_by_loop(frames, boxes, scores, true_frames, true_boxes):
    labels, values, num_right = [], [], 0
    for frame in range(1 + max(frames.max(), true_frames.max())):
        shown = [d for d in range(len(boxes)) if frames[d] == frame and scores[d] >= 0.5]
        true = [t for t in range(len(true_boxes)) if true_frames[t] == frame]
        table = np.array([[iou(boxes[d], true_boxes[t]) for t in true] for d in shown]).reshape(len(shown), len(true))
        for i, d in enumerate(shown):
            right = bool(true) and table[i].max() >= 0.5 and table[:, table[i].argmax()].argmax() == i
            labels.append(right)
            values.append(scores[d])
            num_right += right
    recall = num_right / len(true_boxes)
    return average_precision_score(labels, values) * recall, recall


@pytest.mark.parametrize("seed", range(6))
def test_detection_is_the_public_loop(seed):
    truth, detected, scores = scene(seed)
    scores = np.round(scores, 1)  # with ties
    result = evaluate_detection(detected.frames, detected.boxes, scores, truth.frames, truth.boxes)
    ap, recall = detection_by_loop(detected.frames, detected.boxes, scores, truth.frames, truth.boxes)
    assert result.ap == pytest.approx(ap, abs=1e-12) and result.recall == pytest.approx(recall)
    assert result.right.sum() == pytest.approx(recall * len(truth)) and not result.right[scores < 0.5].any()


def test_overlap_of_boxes():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 10, (20, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 8, (20, 2))], axis=1)
    wanted = [[iou(a, b) for b in boxes] for a in boxes]
    np.testing.assert_allclose(box_iou(boxes, boxes), wanted, atol=1e-12)
    whole = np.array([[60000, 0, 65000, 10]], dtype=np.uint16)
    assert box_iou(whole, whole).tolist() == [[1.0]]


BAD = {
    "lengths": ({"frames": np.array([0])}, "detections need a frame"),
    "corners": ({"boxes": np.zeros((2, 3))}, r"boxes \[N, 4\]"),
    "finite": ({"boxes": np.full((2, 4), np.nan)}, "finite"),
    "frames": ({"frames": np.array([0, -1])}, "from 0 on"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_what_does_not_fit_is_refused(change, message):
    good = {"frames": np.array([0, 1]), "boxes": np.array([[0, 0, 4, 4.0]] * 2), "scores": np.ones(2)}
    with pytest.raises(ValueError, match=message):
        evaluate_detection(**(good | change), true_frames=np.array([0]), true_boxes=np.array([[0, 0, 4, 4.0]]))


def test_no_query_with_its_person_elsewhere_is_refused():
    truth = Boxes(frames=np.array([0]), boxes=np.array([[0, 0, 4, 4.0]]), ids=np.array([1]))
    query = Boxes(frames=truth.frames, boxes=truth.boxes, ids=truth.ids, features=torch.ones(1, 2))
    with pytest.raises(ValueError, match="no query has a match"):
        evaluate_person_search(query, Boxes(frames=truth.frames, boxes=truth.boxes, features=torch.ones(1, 2)), truth)


def test_a_true_box_without_size_is_refused():
    truth = Boxes(frames=np.array([0, 1]), boxes=np.array([[0, 0, 4, 4], [1, 1, 1, 3.0]]), ids=np.array([1, 1]))
    query = Boxes(frames=np.array([0]), boxes=truth.boxes[:1], ids=np.array([1]), features=torch.ones(1, 2))
    with pytest.raises(ValueError, match="width and a height"):
        evaluate_person_search(query, Boxes(frames=truth.frames, boxes=truth.boxes, features=torch.ones(2, 2)), truth)
