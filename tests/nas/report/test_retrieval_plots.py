"""Pictures of retrieval: what they show, and what there is to say about data that hardly are any."""

import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest

from nas.metrics.camera_pairs import CameraPairs
from nas.metrics.pairs import PairDistances
from nas.report.inline import THEME
from nas.report.retrieval_plots import camera_table, chosen_identities, distance_histogram, roc, tsne
from nas.report.style import contrast, png, svg


def text(figure):
    return " ".join(ET.fromstring(svg(figure)).itertext())


def clusters(num_ids, images_per_id, spread=0.1):
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(num_ids) * 11 + 500, images_per_id)
    centres = rng.normal(size=(num_ids, 8)).repeat(images_per_id, axis=0)
    features = (centres + spread * rng.normal(size=centres.shape)).astype(np.float32)
    return features, ids, np.arange(len(ids)) % 23 + 70


def camera_pairs(num_rows, num_columns, value=0.5):
    shares = np.full((num_rows, num_columns), value)
    shares[0, 0] = np.nan
    num_queries = np.where(np.isfinite(shares), 4, 0)
    return CameraPairs(query_cameras=np.arange(num_rows) + 200, gallery_cameras=np.arange(num_columns) + 300,
                       num_queries=num_queries, mAP=shares, rank1=shares)  # fmt: skip


def test_chosen_identities_are_seen_by_most_cameras_then_most_often():
    gallery = {1: [0, 0, 0, 0, 0], 2: [0, 1], 3: [0, 1, 2], 4: [0, 1, 1], 0: [0, 1, 2, 3], -1: [0, 1, 2, 3], 7: [0, 1]}
    ids = np.concatenate([[identity] * len(cameras) for identity, cameras in gallery.items()])
    cameras = np.concatenate(list(gallery.values()))
    query_ids = np.array([7, 4, 3, 2, 1, 1, -1])
    assert chosen_identities(query_ids, ids, cameras, 4).tolist() == [3, 4, 2, 7]
    assert chosen_identities(query_ids, ids, None, 3).tolist() == [1, 3, 4]
    assert len(chosen_identities(query_ids, ids, cameras, 99)) == 5


def verified(name, fpr, tpr):
    return {"name": name, "verification": {"eer": 0.125, "roc": {"fpr": fpr, "tpr": tpr}}}


def test_the_roc_has_a_line_for_each_network_whose_pairs_were_verified():
    rows = [verified("student <a>", [0, 0.001, 1], [0.2, 0.5, 1]), verified("_b", [0, 0.1, 1], [0, 0.4, 1]), {"mAP": 1}]
    figure = roc(rows)
    shown = text(figure)
    assert "student <a> EER 12.5 %" in " ".join(shown.split()) and "_b" in shown and "FPR" in shown
    one, other, _ = figure.axes[0].lines
    assert one.get_ydata().tolist() == [20, 50, 100] and other.get_ydata().tolist() == [0, 40, 100]
    assert figure.axes[0].get_xlim() == (0.001, 1)


def test_a_roc_without_errors_or_without_rows():
    assert roc([verified("perfect", [0, 1], [1, 1])]).axes[0].get_xlim() == (0.1, 1)
    assert roc([{"name": "none"}]) is None and roc([]) is None
    assert roc([verified("odd", [0, 0], [0, 1])]) is not None


@pytest.mark.medium
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_tsne_puts_identities_together_and_names_them_and_the_cameras(distance):
    features, ids, cameras = clusters(5, 12)
    figure = tsne(features, ids, cameras, distance=distance)
    shown = text(figure)
    assert "perplexity 19.7" in shown and all(f" {name} " in shown for name in (500, 544, 70, 92))
    assert sum(len(points.get_offsets()) for points in figure.axes[0].collections) == len(features)
    together = tsne(features, ids, None, distance=distance).axes[0].collections
    centres = np.array([points.get_offsets().mean(axis=0) for points in together])
    for number, points in enumerate(together):
        away = np.linalg.norm(np.asarray(points.get_offsets())[:, None] - centres, axis=2)
        assert (away.argmin(axis=1) == number).all()


@pytest.mark.parametrize(("num_ids", "images_per_id"), [(1, 4), (1, 9), (4, 1), (12, 3)])
def test_tsne_bears_few_images_one_identity_and_more_identities_than_colours(num_ids, images_per_id):
    features, ids, cameras = clusters(num_ids, images_per_id)
    shown = text(tsne(features, ids, cameras))
    assert f"t-SNE of {len(ids)} images" in shown and str(ids[-1]) in shown


def test_tsne_refuses_what_cannot_be_spread():
    features, ids, cameras = clusters(1, 3)
    with pytest.raises(ValueError, match="at least 4 images, got 3"):
        tsne(features, ids, cameras)
    with pytest.raises(ValueError, match="all 9 features are the same"):
        tsne(np.ones((9, 4), dtype=np.float32) * np.arange(1, 10)[:, None], np.arange(9), None)


@pytest.mark.parametrize("num_bins", [3, 80, 1234])
def test_histogram_shows_every_pair_once(num_bins):
    rng = np.random.default_rng(0)
    right, wrong = rng.integers(1, 50, (2, num_bins))
    right[-1] = wrong[-1] = right[0] = 0
    pairs = PairDistances(edges=np.linspace(0, 2, num_bins + 1), right=right, wrong=wrong, distance="cosine")
    figure = distance_histogram(pairs)
    for counts, stairs in zip((right, wrong), figure.axes[0].patches[1::2], strict=True):
        shares, edges, _ = stairs.get_data()
        inside = [
            counts[(pairs.edges[:-1] >= low - 1e-9) & (pairs.edges[:-1] < high - 1e-9)].sum()
            for low, high in pairwise(edges)
        ]
        assert len(shares) <= 80 and sum(shares) == pytest.approx(100)
        np.testing.assert_allclose(shares, 100 * np.array(inside) / counts.sum())
    shown = text(figure)
    assert f"right pairs ({right.sum():,})" in shown and "cosine distance" in shown
    assert f"equal error rate {100 * pairs.equal_error_rate:.1f} %" in shown


def test_histogram_of_one_distance_is_a_picture_too():
    counts = np.array([0, 5, 0])
    pairs = PairDistances(edges=np.arange(4.0), right=counts, wrong=counts, distance="euclidean")
    assert "equal error rate 50.0 %, d′ nan" in text(distance_histogram(pairs))


@pytest.mark.medium
@pytest.mark.parametrize(("shape", "numbered"), [((1, 2), True), ((4, 3), True), ((20, 20), True), ((30, 2), False)])
def test_camera_table_numbers_its_cells_and_leaves_empty_ones(shape, numbered):
    figure = camera_table(camera_pairs(*shape))
    for axes in figure.axes[:2]:
        assert [label.get_text() for label in axes.texts] == ["50"] * (shape[0] * shape[1] - 1) * numbered
        assert all(
            axes.get_window_extent().padded(1).contains(*axes.transData.transform(label.get_position()))
            for label in axes.texts
        )
    shown = text(figure)
    assert "rank-1 (%)" in shown and str(200 + shape[0] - 1) in shown and str(300 + shape[1] - 1) in shown


def test_the_best_share_is_the_brightest_and_the_worst_the_darkest_whatever_else_there_is():
    best, worst = (camera_table(camera_pairs(1, 2, value=value)).axes[0].images[0] for value in (1.0, 0.0))
    assert best.get_clim() == worst.get_clim() == (0, 100)
    assert sum(best.to_rgba(100.0)[:3]) > sum(worst.to_rgba(0.0)[:3])


@pytest.mark.parametrize("share", np.linspace(0, 1, 21))
def test_a_number_can_be_read_on_its_cell(share):
    axes = camera_table(camera_pairs(1, 2, value=share)).axes[0]
    cell = axes.images[0].to_rgba(100 * share)[:3]
    assert contrast(axes.texts[0].get_color(), cell) >= 4.5
    assert axes.texts[0].get_color() not in THEME, "the page would change it, and not the cell"


@pytest.mark.medium
@pytest.mark.parametrize("num_cameras", [2, 13, 24, 40, 120])
def test_numbers_of_cameras_do_not_touch(num_cameras):
    figure = camera_table(camera_pairs(num_cameras, num_cameras))
    figure.draw_without_rendering()
    across, down = (
        [label.get_window_extent() for label in labels]
        for labels in (figure.axes[0].get_xticklabels(), figure.axes[0].get_yticklabels())
    )
    assert all(one.x1 <= other.x0 for one, other in pairwise(across))
    assert all(one.y0 >= other.y1 for one, other in pairwise(down))


def test_camera_table_without_any_query_is_empty():
    assert "camera of the query" in text(camera_table(camera_pairs(2, 2, value=np.nan)))


def test_the_same_data_give_the_same_bytes():
    data = clusters(3, 5)
    assert svg(tsne(*data)) == svg(tsne(*data))
    assert png(camera_table(camera_pairs(2, 2))) == png(camera_table(camera_pairs(2, 2)))
