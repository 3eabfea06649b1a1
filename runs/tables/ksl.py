"""KSL: which recipe reproduces a row of its tables and figures, and what the paper printed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nas.data.sets.cuhk03 import CUHK03
from nas.data.sets.dukemtmc import DukeMTMC
from nas.data.sets.market1501 import Market1501
from nas.data.sets.msmt17 import MSMT17
from nas.data.source import DataSource
from nas.recipe import Recipe
from nas.study.published import Published
from nas.tasks.reid.settings import Evaluation
from runs.recipes import kdas, ksl
from runs.tables.rows import DATA, Numbers, costing, reported, rows_by_data_set

DATA_SETS: Mapping[str, DataSource] = {
    "Duke": DukeMTMC(root=DATA),
    "Market-1501": Market1501(root=DATA),
    "CUHK03": CUHK03(root=DATA),
    "MSMT17": MSMT17(root=DATA),
}
NOISE = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)


OSNET, MOBILENET, SHUFFLENET = (2.2, 0.0), (2.2, 203.9e6), (1.2, 93.9e6)
"""Parameters in millions and multiply-adds. Of MobileNetV2 and ShuffleNetV2 these are the backbone's alone."""
CMSNET = (2.1, 911.0e6)
KSL_ON_OSNET: Sequence[Numbers] = ((89.1, 79.2), (96.0, 89.1), (76.8, 73.7), (81.6, 62.1))
OSNET_ALONE: Sequence[Numbers] = ((84.7, 68.6), (93.6, 81.0), (57.1, 54.2), (71.0, 43.3))


def table1() -> Sequence[Published]:
    """Alone and with KSL from scratch on four data sets. OSNet stands for CMSNet, which is not public; its own numbers
    alone are Table 2's."""
    mobilenet = [
        *_on_people(
            "MobileNetV2, alone", ksl.ksl_mobilenet_baseline(), (75.2, 55.8), (87.0, 69.5), (46.5, 46.0), (50.9, 27.0)
        ),
        *_on_people("MobileNetV2, KSL", ksl.ksl_mobilenet(), (80.5, 66.4), (91.8, 80.3), (64.9, 62.4), (57.4, 36.5)),
    ]
    shufflenet = [
        *_on_people(
            "ShuffleNetV2, alone", ksl.ksl_shufflenet_baseline(), (71.6, 49.9), (84.8, 65.0), (38.4, 37.2), (41.5, 19.9)
        ),
        *_on_people("ShuffleNetV2, KSL", ksl.ksl_shufflenet(), (80.6, 67.3), (91.5, 80.1), (62.3, 59.8), (56.8, 38.1)),
    ]
    return [
        *costing(_on_people("OSNet, alone", ksl.ksl_osnet_baseline(), *OSNET_ALONE), *OSNET),
        *costing(_on_people("OSNet, KSL (paper: CMSNet)", ksl.ksl_osnet(), *KSL_ON_OSNET), *CMSNET),
        *costing(mobilenet, *MOBILENET, counts_backbone=True),
        *costing(shufflenet, *SHUFFLENET, counts_backbone=True),
    ]


def table2() -> Sequence[Published]:
    """KSL from scratch beside others, with and without re-ranking. OSNet stands for CMSNet. Of the others only those
    are here whose networks the toolkit has: Auto-ReID's cell and OSNet, from scratch."""
    again = replace(ksl.ksl_osnet(), evaluation=Evaluation(rerank=True))
    reranked = _on_people(
        "OSNet, KSL, re-ranked (paper: CMSNet)", again, (91.4, 89.4), (95.9, 94.4), (82.8, 84.1), (83.9, 75.7)
    )
    auto_reid = Published(
        name="Auto-ReID's cell, Market-1501",
        recipe=replace(kdas.auto_reid_alone(), baseline=None),
        paper=reported(90.7, 74.6),
    )
    return [
        *costing(_on_people("OSNet, KSL (paper: CMSNet)", again, *KSL_ON_OSNET), *CMSNET),
        *costing([replace(row, reranked=True) for row in reranked], *CMSNET),
        *costing([auto_reid], 13.1),
        *costing(_on_people("OSNet, alone", ksl.ksl_osnet_baseline(), *OSNET_ALONE), *OSNET),
    ]


def table3() -> Sequence[Published]:
    """From ImageNet weights, alone and with KSL; CMSNet's rows are left out, as OSNet has no such weights here."""
    mobilenet = [
        *_on_people(
            "MobileNetV2, alone, ImageNet",
            ksl.ksl_mobilenet_baseline_pretrained(),
            (80.9, 65.3),
            (90.0, 76.4),
            (64.3, 60.0),
            (57.1, 36.2),
        ),
        *_on_people(
            "MobileNetV2, KSL, ImageNet",
            ksl.ksl_mobilenet_pretrained(),
            (84.2, 66.8),
            (91.9, 80.5),
            (66.6, 62.2),
            (60.3, 38.2),
        ),
    ]
    shufflenet = [
        *_on_people(
            "ShuffleNetV2, alone, ImageNet",
            ksl.ksl_shufflenet_baseline_pretrained(),
            (79.4, 61.3),
            (88.5, 73.2),
            (54.4, 51.2),
            (56.2, 34.3),
        ),
        *_on_people(
            "ShuffleNetV2, KSL, ImageNet",
            ksl.ksl_shufflenet_pretrained(),
            (83.4, 68.5),
            (92.0, 81.1),
            (72.3, 68.2),
            (61.6, 39.6),
        ),
    ]
    return [
        *costing(mobilenet, *MOBILENET, counts_backbone=True),
        *costing(shufflenet, *SHUFFLENET, counts_backbone=True),
    ]


def table4() -> Sequence[Published]:
    """The parts of KSL one after the other, CUHK03, OSNet for CMSNet."""
    return _on_cuhk03(
        {
            "Baseline": (ksl.ksl_osnet_baseline(), (57.1, 54.2)),
            "AUX": (ksl.ksl_osnet_aux(), (63.8, 61.1)),
            "+KSL-P": (ksl.ksl_osnet_p(), (73.6, 71.4)),
            "+KSL-E": (ksl.ksl_osnet_p_e(), (75.8, 72.3)),
            "+KSL-H": (ksl.ksl_osnet(), (76.8, 73.7)),
            "KSL-E": (ksl.ksl_osnet_e(), (73.9, 71.6)),
            "KSL-H": (ksl.ksl_osnet_h(), (66.8, 63.6)),
        }
    )


def table5() -> Sequence[Published]:
    """Agreement on probabilities: in pairs, with the average, both; CUHK03, OSNet for CMSNet."""
    both = ksl.ksl_osnet_p()
    return _on_cuhk03(
        {
            "AUX": (ksl.ksl_osnet_aux(), (63.8, 61.1)),
            "KSL-PP": (replace(both, loss=replace(both.loss, pa=0.0)), (68.0, 64.7)),
            "KSL-PA": (replace(both, loss=replace(both.loss, pp=0.0)), (72.7, 70.2)),
            "KSL-P": (both, (73.6, 71.4)),
        }
    )


def table6() -> Sequence[Published]:
    """Agreement on embeddings: in pairs, with the average, both; CUHK03, OSNet for CMSNet."""
    both = ksl.ksl_osnet_e()
    return _on_cuhk03(
        {
            "AUX": (ksl.ksl_osnet_aux(), (63.8, 61.1)),
            "KSL-EP": (replace(both, loss=replace(both.loss, ea=0.0)), (72.6, 70.8)),
            "KSL-EA": (replace(both, loss=replace(both.loss, ep=0.0)), (72.4, 70.4)),
            "KSL-E": (both, (73.9, 71.6)),
        }
    )


def figure5() -> Sequence[Published]:
    """The weights of each stage as KSL's parts are added."""
    return [row for row in table4() if not row.name.startswith("KSL")]


def figure6() -> Sequence[Published]:
    """Rank-1 error with 0 to 50 % of the labels drawn anew in each epoch."""
    return [
        replace(
            row,
            name=f"{row.name}, {share}",
            paper={},
            recipe=replace(row.recipe, data=replace(row.recipe.data, label_noise=share)),
        )
        for row in figure5()
        for share in NOISE
    ]


def figure7() -> Sequence[Published]:
    """Features of twenty identities in the plane, without and with KSL."""
    return [row for row in table4() if row.name in ("Baseline", "+KSL-H")]


def _on_people(name: str, recipe: Recipe, *numbers: Numbers) -> list[Published]:
    """A network's rows, rank-1 and mAP on each of `DATA_SETS`."""
    return rows_by_data_set(name, {label: replace(recipe, data=source) for label, source in DATA_SETS.items()}, numbers)


def _on_cuhk03(rows: Mapping[str, tuple[Recipe, Numbers]]) -> list[Published]:
    return [
        Published(name=name, recipe=replace(recipe, data=DATA_SETS["CUHK03"]), paper=reported(*numbers))
        for name, (recipe, numbers) in rows.items()
    ]
