"""Ablations: arms and seeds through the engine, killed and gone on with, and refused; what a run reaches is made up."""

import json
from dataclasses import replace

import numpy as np
import pytest

from nas.errors import NonFiniteLoss
from nas.losses.labels import LabelLoss
from nas.report.ablation import arms_table, contrasts_table, trade_off, verdict, write_ablation_report
from nas.stages import ablate, arms
from nas.stages.ablate import Ablation, Contrast, Design, contrasts_with_first
from nas.stages.arms import Arm
from nas.study.contrasts import Measured
from nas.study.place import Place
from runs.recipes.demo import toy

RECIPE = replace(toy(), teacher=None, baseline=None, loss=LabelLoss())
IDS = np.repeat(np.arange(5), 4)


def arm(name, **fields):
    return Arm(name=name, recipe_name="toy", recipe=replace(RECIPE, **fields))


PLAIN = arm("plain")
TAUGHT = arm("taught", loss=LabelLoss(margin=0.5))
HARD = arm("hard", loss=LabelLoss(margin=0.9), controls=("random-cell",))


def design(*arms, seeds=3, contrasts=()):
    return Design(arms=arms, seeds=seeds, contrasts=contrasts or contrasts_with_first(arms))


@pytest.fixture
def made_up(monkeypatch):
    """Runs that reach what `value` says at once: a seed is worth the same to all arms, an arm to all seeds."""
    runs = []

    def value(folder):
        seed = int(folder.name.rpartition("seed")[2])
        return (
            0.3 + 0.05 * np.sin(seed) + 0.02 * folder.name.startswith("taught") + 0.001 * seed * ("hard" in folder.name)
        )

    def evaluated(run):
        runs.append(run.folder.name)
        return {"rows": [{"role": "student", "mAP": value(run.folder)}]}

    def measured(folder, role):
        reached = value(folder) - 0.1 * (role == "random-cell")
        by_query = np.full(20, reached)
        macs = 5e6 + 1e5 * len(folder.name)
        return Measured(
            values={"mAP": reached, "rank1": reached},
            multiply_adds=macs,
            name=role,
            ids=IDS,
            by_query={"mAP": by_query, "rank1": by_query},
        )

    for module, name in ((ablate, "search"), (ablate, "retrain"), (arms, "teach_once")):
        monkeypatch.setattr(module, name, lambda run: None)
    monkeypatch.setattr(ablate, "evaluate", evaluated)
    monkeypatch.setattr(ablate, "read_measured", measured)
    return runs


def ablation(folder, *arms, **how):
    return Ablation(design(*arms, **how), Place(folder=folder))


def test_arms_have_the_same_seeds_pair_by_pair(tmp_path, made_up):
    study = ablation(tmp_path, PLAIN, TAUGHT)
    study.work()
    assert made_up == [f"{name}-seed{seed}" for seed in range(3) for name in ("plain", "taught")]
    found = study.result()
    (contrast,) = found["contrasts"]
    assert found["complete"] and contrast["primary"] and contrast["seeds"] == [0, 1, 2]
    assert contrast["mAP"]["mean"] == pytest.approx(0.02) and contrast["mAP"]["p_holm"] < 1e-6
    assert found == json.loads((tmp_path / "ablation.json").read_text())
    assert "taught minus plain: +2.00 mAP" in verdict(found) and "a difference." in verdict(found)
    assert len(contrasts_table(found.get("contrasts", [])).rows) == 2 and len(arms_table(found).rows) == 2
    assert "<pre" not in write_ablation_report(tmp_path, found).read_text()
    assert "nas run taught --name &lt;b&gt;</pre>" in (
        write_ablation_report(tmp_path, found, "nas run taught --name <b>").read_text()
    )


def test_a_killed_one_goes_on_and_more_seeds_add_to_it(tmp_path, made_up, monkeypatch):
    reached = ablate.evaluate

    def dies(run):
        if run.folder.name == "taught-seed0":
            raise KeyboardInterrupt
        return reached(run)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(ablate, "evaluate", dies)
        ablation(tmp_path, PLAIN, TAUGHT).work()
    ablation(tmp_path, PLAIN, TAUGHT).work()
    assert sorted(made_up) == sorted(f"{name}-seed{seed}" for seed in range(3) for name in ("plain", "taught"))
    more = ablation(tmp_path, PLAIN, TAUGHT, seeds=5)
    assert more.engine.num_open == 4
    more.work()
    assert len(made_up) == 10 and more.result()["trials"] == {"done": 10, "planned": 10}


def test_nothing_is_shown_before_all_pairs_are_in(tmp_path, made_up, monkeypatch):
    monkeypatch.setattr(ablate, "evaluate", lambda run: 1 / 0 if "seed2" in run.folder.name else {
        "rows": [{"role": "student", "mAP": 0.5}]
    })  # fmt: skip
    study = ablation(tmp_path, PLAIN, TAUGHT)
    with pytest.raises(ZeroDivisionError):
        study.work()
    found = study.result()
    assert found["trials"] == {"done": 4, "planned": 6} and not {"arms", "contrasts"} & found.keys()
    assert verdict(found) == "4 of 6 runs have ended. The arms are shown when all have, or with --peek."
    assert not contrasts_table(found.get("contrasts", [])).rows
    peeked = study.result(peek=True)
    assert peeked["peeked"] and len(peeked["contrasts"][0]["seeds"]) == 2 and "decides nothing" in verdict(peeked)


def test_contrasts_of_roles_and_equal_macs(tmp_path, made_up):
    asked = (Contrast(first="hard", second="hard:random-cell"), Contrast(first="hard", second="plain"))
    study = ablation(tmp_path, PLAIN, HARD, seeds=4, contrasts=asked)
    study.work()
    control, arms = study.result()["contrasts"]
    assert control["mAP"]["mean"] == pytest.approx(0.1) and "at_equal_macs" not in control["mAP"]  # no MACs differ
    assert arms["mAP"]["mean"] == pytest.approx(0.0015) and arms["multiply_adds"] == pytest.approx(-1e5)
    assert arms["mAP"]["p_holm"] == max(arms["mAP"]["p"], 0) and control["mAP"]["p_holm"] == 2 * control["mAP"]["p"]


def test_what_detects_people_is_compared_by_that_too(tmp_path, made_up, monkeypatch):
    reached = ablate.read_measured

    def measured(folder, role):
        network = reached(folder, role)
        found = {} if folder.name.startswith("hard") else {"detection_AP": 1 - network.values["mAP"]}
        return replace(network, values={**network.values, **found})

    monkeypatch.setattr(ablate, "read_measured", measured)
    study = ablation(tmp_path, PLAIN, TAUGHT, replace(HARD, recipe=replace(HARD.recipe, controls=())))
    study.work()
    found = study.result()
    taught, hard = found["contrasts"]
    assert taught["detection_AP"]["mean"] == pytest.approx(-taught["mAP"]["mean"]) == pytest.approx(-0.02)
    assert "p_holm" in taught["detection_AP"] and "joint_interval" not in taught["detection_AP"]
    assert "detection_AP" not in hard
    table = arms_table(found)
    column = table.columns.index("detection AP")
    assert [row.cells[column] for row in table.rows][2] == "–" and table.rows[0].cells[column].startswith("67.1 ±")
    assert [row.cells[1] for row in contrasts_table(found["contrasts"]).rows] == [
        "mAP", "rank-1", "detection AP", "mAP", "rank-1",
    ]  # fmt: skip
    assert trade_off(found) is None and "Search and detection" not in write_ablation_report(tmp_path, found).read_text()
    all_detect = found | {"arms": found["arms"][:2]}
    page = write_ablation_report(tmp_path, all_detect).read_text()
    assert (
        page.index("</noscript>") < page.index("Search and detection") and (tmp_path / "plots/trade-off.svg").exists()
    )
    axes = trade_off(all_detect).axes[0]
    (line,) = axes.containers[1].lines[:1]
    arm_facts = found["arms"][1]
    assert line.get_xydata()[0] == pytest.approx(
        (100 * arm_facts["detection_AP"]["mean"], 100 * arm_facts["mAP"]["mean"])
    )


def test_members_are_joined_once_and_each_run_takes_the_joint_teacher(tmp_path, made_up):
    members = (tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    joint = arm("joint", teacher=replace(toy().teacher, members=members))
    study = ablation(tmp_path, PLAIN, joint)
    study.work()
    teacher = study.recipe(joint, seed=1).teacher
    assert not teacher.members and teacher.weights.parent.parent == tmp_path and len(made_up) == 6


def test_one_seed_has_no_p_value(tmp_path, made_up):
    study = ablation(tmp_path, PLAIN, TAUGHT, seeds=1)
    study.work()
    found = study.result()
    assert "p" not in found["contrasts"][0]["mAP"] and "1 pair, too few for a p-value" in verdict(found)


def test_a_run_that_diverges_leaves_its_pair_out(tmp_path, made_up, monkeypatch):
    reached = ablate.evaluate

    def diverges(run):
        if run.folder.name == "taught-seed1":
            raise NonFiniteLoss("it became nan")
        return reached(run)

    monkeypatch.setattr(ablate, "evaluate", diverges)
    study = ablation(tmp_path, PLAIN, TAUGHT)
    study.work()
    found = study.result()
    assert found["contrasts"][0]["seeds"] == [0, 2] and found["complete"]
    assert found["failed"] == [{"arm": "taught", "seed": 1, "why": "it became nan"}]
    assert "1 of the runs diverged" in verdict(found)


class TestRefusals:
    @pytest.mark.parametrize(
        "arms, contrasts, message",
        [
            ((PLAIN, replace(PLAIN, name="again")), (), "the arms 'plain' and 'again' do not differ"),
            ((PLAIN, replace(TAUGHT, name="plain")), (), "two arms are called 'plain'"),
            ((PLAIN, arm("other", seed=3)), (), "paired by seed, .* plain and other differ in seed"),
            (
                (PLAIN, arm("small", images=replace(RECIPE.images, height=48))),
                (),
                "plain and small differ in images: give all arms the same",
            ),
            ((PLAIN, TAUGHT), (Contrast(first="tought", second="plain"),), "names 'tought' .did you mean 'taught'"),
            (
                (PLAIN, TAUGHT),
                (Contrast(first="plain", second="plain"),),
                "is of two networks, not of 'plain' and itself",
            ),
        ],
    )
    def test_designs(self, arms, contrasts, message):
        with pytest.raises(ValueError, match=message):
            design(*arms, contrasts=contrasts)

    def test_a_study_of_other_arms(self, tmp_path, made_up):
        ablation(tmp_path, PLAIN, TAUGHT)
        with pytest.raises(ValueError, match=r"is of something else .*arms\.taught.*give --out another folder"):
            ablation(tmp_path, PLAIN, arm("taught", loss=LabelLoss(margin=0.7)))

    def test_an_arm_that_cannot_run_leaves_nothing(self, tmp_path):
        with pytest.raises(ValueError, match="the arm 'control': --controls taught-baseline needs a baseline"):
            ablation(tmp_path, PLAIN, arm("control", controls=("taught-baseline",)))
        assert not list(tmp_path.iterdir())
