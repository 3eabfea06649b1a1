"""The papers' tables and figures, row by row: which recipe reproduces a row, and what the paper printed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from matplotlib.figure import Figure

from nas.data.sets.cuhk03 import CUHK03
from nas.data.sets.dukemtmc import DukeMTMC
from nas.data.sets.market1501 import Market1501
from nas.data.sets.msmt17 import MSMT17
from nas.data.sets.vehicleid import VehicleID
from nas.data.source import DataSource
from nas.losses.kd import KDLoss
from nas.recipe import Recipe
from nas.stages.paper_figures import Results, augmented_tsne, label_noise, weights
from nas.study.published import Published
from runs.recipes import fast_reid, kdas, ksl, vrkd
from search_spaces.resnet import ResNet
from search_spaces.space import SearchSpace
from students.reid import ReID
from teachers.temperature import Constant

DATA = Path("data")
FAST_REID_GRID = {
    (1, 0.1): (80.32, 61.04),
    (1, 0.3): (80.13, 60.09),
    (1, 0.5): (80.07, 60.01),
    (2, 0.1): (82.48, 61.24),
    (2, 0.3): (80.31, 61.01),
    (2, 0.5): (80.23, 60.89),
    (5, 0.1): (83.57, 62.53),
    (5, 0.3): (83.02, 62.12),
    (5, 0.5): (82.95, 61.78),
    (10, 0.1): (80.36, 61.06),
    (10, 0.3): (80.17, 60.18),
    (10, 0.5): (80.56, 60.19),
}
"""Fast re-ID, Table 2: rank-1 and mAP in percent by temperature and alpha."""

VRKD_SETS = ("VeRi-776", "VehicleID 800", "VehicleID 1600", "VehicleID 2400")
KSL_SETS: Mapping[str, DataSource] = {
    "Duke": DukeMTMC(root=DATA),
    "Market-1501": Market1501(root=DATA),
    "CUHK03": CUHK03(root=DATA),
    "MSMT17": MSMT17(root=DATA),
}
NOISE = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)

Numbers = tuple[float, float]


def kdas_table1() -> Sequence[Published]:
    """What distillation and the falling temperature bring, Market-1501; searches: means of the paper's four."""
    rows = {
        "ResNet-18": (_by_hand(ResNet(depth=18)), (85.2, 66.0)),
        "ResNet-34": (_by_hand(ResNet(depth=34)), (86.7, 68.0)),
        "ResNet-50": (_by_hand(ResNet(depth=50)), (87.2, 68.5)),
        "DARTS's cell": (kdas.darts_cell(), (85.6, 65.2)),
        "Baseline": (kdas.kdas_baseline(), (88.1, 71.9)),
        "Baseline + distillation": (kdas.kdas_constant(), (90.0, 75.2)),
        "Distillation + dynamic temperature": (kdas.kdas(), (90.6, 76.4)),
    }
    return [
        Published(name=name, recipe=replace(recipe, baseline=None), paper=reported(*numbers))
        for name, (recipe, numbers) in rows.items()
    ]


def fast_reid_table2() -> Sequence[Published]:
    """MobileNetV2 distilled at each temperature and alpha, Market-1501."""
    recipe = fast_reid.fast_reid()
    return [
        Published(
            name=f"T = {t}, alpha = {alpha}",
            paper=reported(*numbers),
            recipe=replace(recipe, loss=KDLoss(alpha=alpha, temperature=Constant(value=float(t)))),
        )
        for (t, alpha), numbers in FAST_REID_GRID.items()
    ]


def fast_reid_table3() -> Sequence[Published]:
    """The main models, and the student on a strong baseline, Market-1501."""
    taught = fast_reid.fast_reid()
    return [
        Published(name="MobileNetV2", recipe=fast_reid.fast_reid_alone(), paper=reported(74.94, 49.80)),
        Published(name="MobileNetV2 + distillation", recipe=taught, paper=reported(83.57, 62.53)),
        Published(name="ResNet-50", recipe=taught, paper=reported(94.54, 85.72), role="teacher"),
        Published(name="MobileNetV2, strong baseline", recipe=fast_reid.fast_reid_strong_alone()),
        Published(name="MobileNetV2, strong baseline + distillation", recipe=fast_reid.fast_reid_strong()),
    ]


def vrkd_table1() -> Sequence[Published]:
    """VRKD's own rows: with and without label smoothing (LSR), at last stride 1, and at 512x512."""
    cnn, sdc, resnet, last = vrkd.vrkd_cnn(), vrkd.vrkd_sdc_cnn(), vrkd.vrkd(), vrkd.vrkd_last_stride()
    return [
        *_on_vehicles("CNN", _rough(cnn), (83.19, 52.16), (70.24, 77.64), (67.83, 74.49), (64.41, 71.20)),
        *_on_vehicles("CNN, LSR", cnn, (83.02, 52.20), (69.69, 77.17), (67.51, 73.98), (63.86, 70.59)),
        *_on_vehicles("SDC-CNN", _rough(sdc), (93.44, 69.59), (76.89, 83.77), (73.40, 80.08), (69.75, 76.64)),
        *_on_vehicles("SDC-CNN, LSR", sdc, (93.62, 69.87), (76.37, 83.44), (72.87, 79.62), (69.56, 76.39)),
        *_on_vehicles("ResNet-18", _rough(resnet), (94.52, 74.40), (81.37, 87.28), (77.03, 83.32), (74.46, 80.87)),
        *_on_vehicles(
            "ResNet-18, 512x512", _large(_rough(resnet)), (94.64, 76.29), (83.86, 89.22), (79.65, 85.43), (77.23, 83.26)
        ),
        *_on_vehicles("ResNet-18, LSR", resnet, (94.64, 74.48), (81.21, 87.26), (76.80, 83.14), (74.13, 80.65)),
        *_on_vehicles("ResNet-18, LSR, LS = 1", last, (95.65, 76.12), (81.77, 87.68), (77.23, 83.52), (74.73, 81.13)),
        *_on_vehicles(
            "ResNet-18, LSR, LS = 1, 512x512",
            _large(last),
            (94.58, 76.39),
            (83.86, 89.22),
            (79.72, 85.46),
            (77.34, 83.35),
        ),
    ]


def vrkd_table2() -> Sequence[Published]:
    """The backbones without a teacher."""
    return [
        row
        for row in vrkd_table3()
        if row.name.startswith(("DenseNet-121,", "ResNet-18,", "ResNet-50,")) and row.recipe.teacher is None
    ]


def vrkd_table3() -> Sequence[Published]:
    """Five students, each alone and taught."""
    return [
        *_on_vehicles(
            "CNN, alone", vrkd.vrkd_cnn_alone(), (78.78, 42.16), (61.35, 67.67), (60.09, 65.83), (56.68, 62.66)
        ),
        *_on_vehicles("CNN, VRKD", vrkd.vrkd_cnn(), (83.02, 52.20), (69.69, 77.17), (67.51, 73.98), (63.86, 70.59)),
        *_on_vehicles(
            "SDC-CNN, alone", vrkd.vrkd_sdc_cnn_alone(), (89.81, 58.50), (71.22, 78.28), (69.23, 75.34), (66.37, 72.41)
        ),
        *_on_vehicles(
            "SDC-CNN, VRKD", vrkd.vrkd_sdc_cnn(), (93.62, 69.87), (76.37, 83.44), (72.87, 79.62), (69.56, 76.39)
        ),
        *_on_vehicles(
            "DenseNet-121, alone",
            vrkd.vrkd_densenet_alone(),
            (85.64, 54.26),
            (72.22, 78.84),
            (69.70, 75.84),
            (66.98, 73.01),
        ),
        *_on_vehicles(
            "DenseNet-121, VRKD", vrkd.vrkd_densenet(), (90.11, 65.22), (78.00, 84.67), (74.19, 80.67), (71.94, 78.03)
        ),
        *_on_vehicles(
            "ResNet-18, alone", vrkd.vrkd_alone(), (92.37, 68.03), (77.51, 84.04), (73.39, 79.93), (70.74, 77.40)
        ),
        *_on_vehicles("ResNet-18, VRKD", vrkd.vrkd(), (94.52, 74.67), (81.29, 87.29), (77.21, 83.35), (74.62, 81.30)),
        *_on_vehicles(
            "ResNet-50, alone",
            vrkd.vrkd_resnet50_alone(),
            (95.05, 73.98),
            (81.31, 87.36),
            (77.27, 83.50),
            (74.35, 80.94),
        ),
        *_on_vehicles(
            "ResNet-50, VRKD", vrkd.vrkd_resnet50(), (94.58, 75.74), (82.26, 88.70), (77.90, 84.14), (75.18, 81.59)
        ),
    ]


def ksl_table1() -> Sequence[Published]:
    """Alone and with KSL from scratch on four data sets. OSNet stands for CMSNet, which is not public; its own numbers
    alone are Table 2's."""
    return [
        *_on_people("OSNet, alone", ksl.ksl_osnet_baseline(), (84.7, 68.6), (93.6, 81.0), (57.1, 54.2), (71.0, 43.3)),
        *_on_people(
            "OSNet, KSL (paper: CMSNet)", ksl.ksl_osnet(), (89.1, 79.2), (96.0, 89.1), (76.8, 73.7), (81.6, 62.1)
        ),
        *_on_people(
            "MobileNetV2, alone", ksl.ksl_mobilenet_baseline(), (75.2, 55.8), (87.0, 69.5), (46.5, 46.0), (50.9, 27.0)
        ),
        *_on_people("MobileNetV2, KSL", ksl.ksl_mobilenet(), (80.5, 66.4), (91.8, 80.3), (64.9, 62.4), (57.4, 36.5)),
        *_on_people(
            "ShuffleNetV2, alone", ksl.ksl_shufflenet_baseline(), (71.6, 49.9), (84.8, 65.0), (38.4, 37.2), (41.5, 19.9)
        ),
        *_on_people("ShuffleNetV2, KSL", ksl.ksl_shufflenet(), (80.6, 67.3), (91.5, 80.1), (62.3, 59.8), (56.8, 38.1)),
    ]


def ksl_table3() -> Sequence[Published]:
    """From ImageNet weights, alone and with KSL; CMSNet's rows are left out, as OSNet has no such weights here."""
    return [
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


def ksl_table4() -> Sequence[Published]:
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


def ksl_table5() -> Sequence[Published]:
    """Agreement on probabilities: in pairs, with the average, both; CUHK03, OSNet for CMSNet."""
    both = ksl.ksl_osnet_p()
    return _on_cuhk03(
        {
            "AUX": (ksl.ksl_osnet_aux(), (63.8, 61.1)),
            "KSL-PP": (_change_loss(both, pa=0.0), (68.0, 64.7)),
            "KSL-PA": (_change_loss(both, pp=0.0), (72.7, 70.2)),
            "KSL-P": (both, (73.6, 71.4)),
        }
    )


def ksl_table6() -> Sequence[Published]:
    """Agreement on embeddings: in pairs, with the average, both; CUHK03, OSNet for CMSNet."""
    both = ksl.ksl_osnet_e()
    return _on_cuhk03(
        {
            "AUX": (ksl.ksl_osnet_aux(), (63.8, 61.1)),
            "KSL-EP": (_change_loss(both, ea=0.0), (72.6, 70.8)),
            "KSL-EA": (_change_loss(both, ep=0.0), (72.4, 70.4)),
            "KSL-E": (both, (73.9, 71.6)),
        }
    )


def ksl_figure5() -> Sequence[Published]:
    """The weights of each stage as KSL's parts are added."""
    return [row for row in ksl_table4() if not row.name.startswith("KSL")]


def ksl_figure6() -> Sequence[Published]:
    """Rank-1 error with 0 to 50 % of the labels drawn anew in each epoch."""
    return [
        replace(
            row,
            name=f"{row.name}, {share}",
            paper={},
            recipe=replace(row.recipe, data=replace(row.recipe.data, label_noise=share)),
        )
        for row in ksl_figure5()
        for share in NOISE
    ]


def ksl_figure7() -> Sequence[Published]:
    """Features of twenty identities in the plane, without and with KSL."""
    return [row for row in ksl_table4() if row.name in ("Baseline", "+KSL-H")]


def reported(rank1: float, mean_ap: float) -> Mapping[str, float]:
    """Percent, as papers print them, to shares."""
    return {"rank1": rank1 / 100, "mAP": mean_ap / 100}


def _on_vehicles(name: str, recipe: Recipe, *numbers: Numbers) -> list[Published]:
    """A network's rows, rank-1 and mAP on each of `VRKD_SETS`. VehicleID has no cameras to leave out."""
    keeping = replace(recipe, evaluation=replace(recipe.evaluation, same_camera="keep"))
    sizes = [replace(keeping, data=VehicleID(root=DATA, test_size=size)) for size in (800, 1600, 2400)]
    return _rows(name, dict(zip(VRKD_SETS, [recipe, *sizes], strict=True)), numbers)


def _on_people(name: str, recipe: Recipe, *numbers: Numbers) -> list[Published]:
    """A network's rows, rank-1 and mAP on each of `KSL_SETS`."""
    return _rows(name, {label: replace(recipe, data=source) for label, source in KSL_SETS.items()}, numbers)


def _rows(name: str, recipes: Mapping[str, Recipe], numbers: Sequence[Numbers]) -> list[Published]:
    return [
        Published(name=f"{name}, {label}", recipe=recipe, paper=reported(*both))
        for (label, recipe), both in zip(recipes.items(), numbers, strict=True)
    ]


def _on_cuhk03(rows: Mapping[str, tuple[Recipe, Numbers]]) -> list[Published]:
    return [
        Published(name=name, recipe=replace(recipe, data=KSL_SETS["CUHK03"]), paper=reported(*numbers))
        for name, (recipe, numbers) in rows.items()
    ]


def _by_hand(backbone: SearchSpace) -> Recipe:
    return replace(kdas.kdas_baseline(), strategy=None, space=ReID(backbone=backbone), student=None)


def _rough(recipe: Recipe) -> Recipe:
    """Without label smoothing."""
    return _change_loss(recipe, label_smoothing=0.0)


def _change_loss(recipe: Recipe, **changes: float) -> Recipe:
    return replace(recipe, loss=replace(cast(Any, recipe.loss), **changes))


def _large(recipe: Recipe) -> Recipe:
    return replace(recipe, images=replace(recipe.images, height=512, width=512))


PICTURES: Mapping[tuple[str, str], Callable[[Results, Path], dict[str, Figure]]] = {
    ("ksl", "figure5"): weights,
    ("ksl", "figure6"): label_noise,
    ("ksl", "figure7"): augmented_tsne,
}
"""What is drawn of the runs of a paper's figure."""

PAPERS: Mapping[str, Mapping[str, Callable[[], Sequence[Published]]]] = {
    "kdas": {"table1": kdas_table1},
    "fast_reid": {"table2": fast_reid_table2, "table3": fast_reid_table3},
    "vrkd": {"table1": vrkd_table1, "table2": vrkd_table2, "table3": vrkd_table3},
    "ksl": {
        "table1": ksl_table1,
        "table3": ksl_table3,
        "table4": ksl_table4,
        "table5": ksl_table5,
        "table6": ksl_table6,
        "figure5": ksl_figure5,
        "figure6": ksl_figure6,
        "figure7": ksl_figure7,
    },
}
