"""Distilled person search: which recipe reproduces a row of its Tables 1 to 3 and Figure 1, and what it printed.

Beside each distilled network stand plain ones: at its weight of OIM's loss (lambda), and at the best of `LAMBDAS`. The
paper printed few of these, and nothing of the strong baseline, whose numbers are those of public code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from nas.data.sampling import QueryPairs
from nas.data.scene_cache import SceneSize
from nas.data.sets.prw import PRW, PRWMini
from nas.recipe import Recipe
from nas.study.published import Published
from nas.training.optimisers import MultiStepLR
from nas.training.settings import Training
from runs.recipes import kd_person_search as recipes
from runs.tables.rows import DATA, reported
from students.person_search import PersonSearch
from students.space import StudentSpace

LAMBDAS = (1.0, 0.6, 0.3, 0.1)
SAME, BEST = "plain, same lambda", "plain, best lambda"

Printed = Mapping[str, float]

ALONE: Mapping[str, Callable[[], Recipe]] = {
    "OIM R18": recipes.oim_r18,
    "OIM R50": recipes.oim_r50,
    "QEEPS R18": recipes.qeeps_r18,
    "QEEPS R50": recipes.qeeps_r50,
}
UNDER_DETECTOR: Mapping[str, Callable[[], Recipe]] = {
    "OIM R18": recipes.oim_r18_kddet,
    "OIM R50": recipes.oim_r50_kddet,
}
UNDER_BOTH: Mapping[str, Callable[[], Recipe]] = {"OIM R18": recipes.oim_r18_both, "OIM R50": recipes.oim_r50_both}


def table1() -> Sequence[Published]:
    """ResNet-50 students under KD_det, KD_reid and both, and under teachers of other quality, CUHK-SYSU."""
    return [
        Published(name="Faster R-CNN R50", recipe=recipes.oim_r50_kddet(), role="teacher", paper=_detected(83.6, 88.1)),
        *_plain("OIM R50", {1.0: _found(78.0, 77.9) | _detected(75.2, 82.7)}),
        _hearing("OIM R50", 1.0, _found(78.3, 77.5) | _detected(78.9, 85.0)),
        _hearing("OIM R50", 0.3, _found(72.9, 72.0) | _detected(82.3, 87.2)),
        _learning("OIM R50", "OIM R50", _found(81.2, 81.0) | _detected(81.9, 86.9)),
        _hearing_both("OIM R50", _found(80.3, 79.9) | _detected(83.2, 87.8)),
        _learning("OIM R50", "OIM R18", _found(75.0, 73.9) | _detected(81.7, 86.8)),
        _learning("OIM R50", "QEEPS R50", _found(83.8, 84.2) | _detected(81.7, 86.8)),
        *_plain("QEEPS R50", {1.0: _found(84.4, 84.4)}),
        _learning("QEEPS R50", "OIM R50", _found(83.2, 82.9)),
        _learning("QEEPS R50", "QEEPS R50", _found(85.0, 85.5)),
        _strong(),
    ]


def table2a() -> Sequence[Published]:
    """What stands beside the state of the art on CUHK-SYSU; the number of OIM is that of its own paper."""
    return [*_state_of_the_art((75.5, 78.7), (83.8, 84.2), (84.4, 84.4), (85.0, 85.5)), _strong()]


def table2b() -> Sequence[Published]:
    """The same on PRW-mini, with a short side of 900 pixels; and the strong baseline on PRW, with one of 600."""
    strong = _strong()
    return [
        *map(_on_prw_mini, _state_of_the_art((38.3, 70.0), (39.5, 73.3), (39.1, 80.0), (39.7, 80.0))),
        replace(
            strong,
            name=f"{strong.name}, PRW",
            recipe=replace(strong.recipe, data=PRW(root=DATA), space=_with_short_queue(strong.recipe.space)),
            paper=_found(36.0, 76.7),
        ),
    ]


def table3() -> Sequence[Published]:
    """ResNet-18 students under ResNet-50 teachers, CUHK-SYSU."""
    plain = {1.0: _found(69.1, 68.0) | _detected(74.2, 81.6), 0.6: _found(79.9, 80.4) | _detected(78.4, 84.4)}
    return [
        Published(name="Faster R-CNN R18", recipe=recipes.det_r18(), paper=_detected(82.4, 87.2)),
        *_plain("OIM R18", plain),
        _hearing("OIM R18", 1.0, _found(69.1, 68.0) | _detected(77.5, 83.7)),
        _hearing("OIM R18", 0.6, _found(70.4, 69.0) | _detected(79.7, 85.4)),
        _learning("OIM R18", "OIM R50", _found(80.5, 80.9) | _detected(80.6, 85.9)),
        _hearing_both("OIM R18", _found(78.4, 78.0) | _detected(82.0, 86.9)),
        _learning("OIM R18", "OIM R18", _found(72.9, 71.1) | _detected(80.6, 85.9)),
        _learning("OIM R18", "QEEPS R50", _found(82.4, 83.0) | _detected(80.8, 86.0)),
        *_plain("QEEPS R18", {1.0: _found(76.6, 76.0)}),
        _learning("QEEPS R18", "OIM R50", _found(82.1, 81.4)),
        _learning("QEEPS R18", "QEEPS R50", _found(84.1, 84.3)),
    ]


def figure1() -> Sequence[Published]:
    """Search and detection against lambda, with ResNet-50 and with ResNet-18. Rows are named `PANEL: LINE, LAMBDA`, and
    a detector, which has no lambda, `PANEL: LINE`; of the paper's curves only what its tables have is printed."""
    rows = []
    for backbone, table in (("R50", table1()), ("R18", table3())):
        lines = {
            f"Faster R-CNN {backbone}": "Faster R-CNN",
            f"OIM {backbone}": "OIM",
            f"OIM {backbone} + KD_det (Faster R-CNN R50)": "OIM + KD_det",
            f"OIM {backbone} + KD_reid (OIM R50)": "OIM + KD_reid",
        }
        for row in table:
            network, *weights = row.name.split(", lambda ")
            if network in lines:
                name = ", ".join([f"{backbone}: {lines[network]}", *weights])
                rows.append(replace(row, name=name, beside={}))
    return rows


def _found(mean_ap: float, top1: float) -> dict[str, float]:
    return {**reported(top1, mean_ap)}


def _detected(precision: float, recall: float) -> dict[str, float]:
    return {"detection_AP": precision / 100, "detection_recall": recall / 100}


def _plain(network: str, printed: Mapping[float, Printed]) -> list[Published]:
    """The network alone at each of `LAMBDAS`. At 1 it is what teaches others, and is trained as they hear it."""
    recipe = ALONE[network]()
    taught = recipes.with_table(recipe, recipe)
    return [
        Published(
            name=_at(network, weight),
            recipe=taught if weight == 1 else recipes.weighing(recipe, weight),
            role="teacher" if weight == 1 else "student",
            paper=printed.get(weight, {}),
        )
        for weight in LAMBDAS
    ]


def _hearing(student: str, weight: float, printed: Printed) -> Published:
    recipe = recipes.weighing(UNDER_DETECTOR[student](), weight)
    return _taught(student, "KD_det (Faster R-CNN R50)", weight, recipe, printed)


def _learning(student: str, teacher: str, printed: Printed) -> Published:
    recipe = recipes.with_table(ALONE[student](), ALONE[teacher]())
    return _taught(student, f"KD_reid ({teacher})", 0.1, recipe, printed)


def _hearing_both(student: str, printed: Printed) -> Published:
    teachers = "KD_det (Faster R-CNN R50) + KD_reid (OIM R50)"
    row = _taught(student, teachers, 0.1, UNDER_BOTH[student](), printed)
    return replace(row, members=(recipes.oim_r50_kddet(), recipes.oim_r50_kdreid()))


def _taught(student: str, how: str, weight: float, recipe: Recipe, printed: Printed) -> Published:
    beside = {SAME: (_at(student, weight),), BEST: tuple(_at(student, each) for each in LAMBDAS)}
    return Published(name=_at(f"{student} + {how}", weight), recipe=recipe, paper=printed, beside=beside)


def _at(network: str, weight: float) -> str:
    return f"{network}, lambda {weight:g}"


def _strong() -> Published:
    name = "OIM R50, strong baseline of public code"
    return Published(name=name, recipe=recipes.oim_r50_strong(), paper=_found(88.1, 89.2))


def _state_of_the_art(*numbers: tuple[float, float]) -> list[Published]:
    """OIM and QEEPS, each alone and distilled, in this order."""
    oim, distilled_oim, qeeps, distilled_qeeps = (_found(*each) for each in numbers)
    return [
        *_plain("OIM R50", {1.0: oim}),
        _learning("OIM R50", "QEEPS R50", distilled_oim),
        *_plain("QEEPS R50", {1.0: qeeps}),
        _learning("QEEPS R50", "QEEPS R50", distilled_qeeps),
    ]


def _on_prw_mini(row: Published) -> Published:
    recipe, teacher = row.recipe, row.recipe.teacher
    if teacher is not None:
        teacher = replace(teacher, net=_with_short_queue(teacher.net), training=_of_prw(teacher.training))
    recipe = replace(
        recipe,
        data=PRWMini(root=DATA),
        images=SceneSize(short_side=900, long_side=1500),
        space=_with_short_queue(recipe.space),
        teacher=teacher,
        retrain=_of_prw(recipe.retrain),
    )
    return replace(row, recipe=recipe)


def _with_short_queue(net: StudentSpace) -> PersonSearch:
    assert isinstance(net, PersonSearch)
    return replace(net, matching=replace(net.matching, queue=500))


def _of_prw(training: Training) -> Training:
    """As many steps in all, though an epoch has about half as many frames, or in pairs for QEEPS few identities."""
    optimiser, sampling = replace(training.optimiser, rate=MultiStepLR(milestones=(7,))), training.sampling
    if isinstance(sampling, QueryPairs):
        sampling = replace(sampling, pairs_per_id=12)
    return replace(training, epochs=9, optimiser=optimiser, sampling=sampling)
