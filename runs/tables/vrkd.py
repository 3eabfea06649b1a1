"""VRKD: which recipe reproduces a row of its tables and figures, and what the paper printed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nas.data.images import Images
from nas.data.sets.vehicleid import VehicleID
from nas.losses.vrkd import VRKDLoss
from nas.recipe import Recipe
from nas.study.published import Published
from runs.recipes import vrkd
from runs.tables.rows import DATA, Numbers, costing, rows_by_data_set
from search_spaces.resnet import ResNet
from teachers.temperature import Constant

VERI_IDS = 576
"""The paper counts the classifier of VeRi-776's identities."""
TEMPERATURES = (1.0, 2.0, 4.0, 8.0, 16.0)
LAMBDAS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Figure 6's, of which the paper's text does not say which it has."""

DATA_SETS = ("VeRi-776", "VehicleID 800", "VehicleID 1600", "VehicleID 2400")


def table1() -> Sequence[Published]:
    """VRKD's own rows: with and without label smoothing (LSR), at last stride 1, and at 512x512. The multiply-adds that
    it prints for ResNet-18 are those of last stride 1 in all rows."""
    cnn, sdc, resnet, last = vrkd.vrkd_cnn(), vrkd.vrkd_sdc_cnn(), vrkd.vrkd(), vrkd.vrkd_last_stride()
    small = [
        *_on_vehicles("ResNet-18", _rough(resnet), (94.52, 74.40), (81.37, 87.28), (77.03, 83.32), (74.46, 80.87)),
        *_on_vehicles("ResNet-18, LSR", resnet, (94.64, 74.48), (81.21, 87.26), (76.80, 83.14), (74.13, 80.65)),
        *_on_vehicles("ResNet-18, LSR, LS = 1", last, (95.65, 76.12), (81.77, 87.68), (77.23, 83.52), (74.73, 81.13)),
    ]
    large = [
        *_on_vehicles(
            "ResNet-18, 512x512", _large(_rough(resnet)), (94.64, 76.29), (83.86, 89.22), (79.65, 85.43), (77.23, 83.26)
        ),
        *_on_vehicles(
            "ResNet-18, LSR, LS = 1, 512x512",
            _large(last),
            (94.58, 76.39),
            (83.86, 89.22),
            (79.72, 85.46),
            (77.34, 83.35),
        ),
    ]
    shallow = [
        *_on_vehicles("CNN", _rough(cnn), (83.19, 52.16), (70.24, 77.64), (67.83, 74.49), (64.41, 71.20)),
        *_on_vehicles("CNN, LSR", cnn, (83.02, 52.20), (69.69, 77.17), (67.51, 73.98), (63.86, 70.59)),
    ]
    dense = [
        *_on_vehicles("SDC-CNN", _rough(sdc), (93.44, 69.59), (76.89, 83.77), (73.40, 80.08), (69.75, 76.64)),
        *_on_vehicles("SDC-CNN, LSR", sdc, (93.62, 69.87), (76.37, 83.44), (72.87, 79.62), (69.56, 76.39)),
    ]
    return [
        *costing(shallow, 1.01, 0.41e9, VERI_IDS),
        *costing(dense, 10.86, 9.2e9, VERI_IDS),
        *costing(small, 11.46, 3.99e9, VERI_IDS),
        *costing(large, 11.46, 15.97e9, VERI_IDS),
    ]


def table2() -> Sequence[Published]:
    """The backbones without a teacher."""
    return [
        row
        for row in table3()
        if row.name.startswith(("DenseNet-121,", "ResNet-18,", "ResNet-50,")) and row.recipe.teacher is None
    ]


def table3() -> Sequence[Published]:
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


def figure4() -> Sequence[Published]:
    """Features of twenty vehicles in the plane, without and with VRKD. Which student the paper shows it does not say:
    here ResNet-18, VeRi-776."""
    return [row for row in table3() if row.name in ("ResNet-18, alone, VeRi-776", "ResNet-18, VRKD, VeRi-776")]


def figure5() -> Sequence[Published]:
    """How long a vehicle's image takes, 256x256: ResNet-18 of VRKD, which the others stand beside, its teacher, and the
    backbones of other methods. ResNet-18 has last stride 1, as the teacher's four, the others 2. The paper prints
    what ResNet-18 takes of the others' times in batches of 128."""
    student, teacher = vrkd.vrkd_last_stride(), vrkd.vrkd()
    deep = replace(student.space, backbone=ResNet(depth=101, last_stride=2))
    return [
        Published(name="VRKD (ResNet-18)", recipe=student),
        Published(name="DenseNet-121", recipe=vrkd.vrkd_densenet_alone(), paper={"share": 0.33}),
        Published(name="ResNet-50", recipe=vrkd.vrkd_resnet50_alone(), paper={"share": 0.30}),
        Published(name="teacher (four ResNet-18)", recipe=teacher, role="teacher", paper={"share": 0.25}),
        Published(name="ResNet-101", recipe=replace(student, teacher=None, space=deep), paper={"share": 0.21}),
    ]


def figure6() -> Sequence[Published]:
    """What the distillation temperature and lambda do to three students, VeRi-776. Rows are named `PANEL: LINE, PLACE`;
    of the paper's curves only what Table 3 has, at T = 2 and lambda = 1, is printed."""
    printed = {row.name: row for row in table3()}
    rows = []
    for student in ("CNN", "SDC-CNN", "ResNet-18"):
        row = printed[f"{student}, VRKD, VeRi-776"]
        loss = row.recipe.loss
        assert isinstance(loss, VRKDLoss)
        settings: Mapping[str, VRKDLoss] = {
            **{f"T: {student}, {t:g}": replace(loss, temperature=Constant(value=t)) for t in TEMPERATURES},
            **{f"lambda: {student}, {weight:g}": replace(loss, distill_weight=weight) for weight in LAMBDAS},
        }
        for name, changed in settings.items():
            paper = row.paper if changed == loss else {}
            rows.append(replace(row, name=name, recipe=replace(row.recipe, loss=changed), paper=paper))
    return rows


def _on_vehicles(name: str, recipe: Recipe, *numbers: Numbers) -> list[Published]:
    """A network's rows, rank-1 and mAP on each of `DATA_SETS`. VehicleID has no cameras to leave out."""
    keeping = replace(recipe, evaluation=replace(recipe.evaluation, same_camera="keep"))
    sizes = [replace(keeping, data=VehicleID(root=DATA, test_size=size)) for size in (800, 1600, 2400)]
    return rows_by_data_set(name, dict(zip(DATA_SETS, [recipe, *sizes], strict=True)), numbers)


def _rough(recipe: Recipe) -> Recipe:
    """Without label smoothing."""
    return replace(recipe, loss=replace(recipe.loss, label_smoothing=0.0))


def _large(recipe: Recipe) -> Recipe:
    return replace(recipe, images=Images(height=512, width=512))
