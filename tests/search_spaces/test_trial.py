"""Architectures that an Optuna trial proposes: any sampler, the published answers first, every answer within reach."""

from itertools import product

import optuna
import pytest

from search_spaces.architecture import all_edges
from search_spaces.cell import Cells
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.osnet import OSNet
from search_spaces.trial import Published, Trial, proposed

SPACES = {
    "cells": Cells(channels=2, cells=3, reductions=(2,)),
    "mobilenet_v2": MobileNetV2(width=0.1),
    "osnet": OSNet(width=1 / 8),
}


@pytest.fixture(autouse=True)
def quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


@pytest.fixture(params=SPACES)
def space(request):
    return SPACES[request.param]


def test_the_first_choices_are_the_published_architecture(space):
    first = Published()
    assert proposed(space, first) == space.published()
    assert proposed(space, optuna.trial.FixedTrial(first.params)) == space.published()


@pytest.mark.medium
@pytest.mark.parametrize(
    "sampler", [optuna.samplers.RandomSampler, optuna.samplers.TPESampler, optuna.samplers.NSGAIISampler]
)
def test_any_sampler_proposes_what_can_be_built(space, sampler):
    study = optuna.create_study(sampler=sampler(seed=0))
    found = []
    for _ in range(4):
        trial = study.ask()
        found.append(proposed(space, trial))
        space.check(found[-1])
        study.tell(trial, len(found))
    assert len(set(found)) == 4
    assert all(len(trial.params) == len(study.trials[0].params) for trial in study.trials)


def test_a_study_starts_at_the_published_architecture_when_told_to():
    space, first = SPACES["cells"], Published()
    proposed(space, first)
    study = optuna.create_study()
    study.enqueue_trial(first.params)
    assert proposed(space, study.ask()) == space.published()


def test_every_choice_of_edges_is_within_reach():
    options, first = {0: ["sep", "skip"], 1: ["sep", "skip", "max"], 2: ["skip"]}, ("skip@1", "skip@2")
    ops = {f"node<{source}": choices for source, choices in options.items() if len(choices) > 1}
    inputs = ["0+1", "0+2", "1+2"]
    reached = set()
    for *chosen, kept in product(*ops.values(), inputs):
        trial = optuna.trial.FixedTrial(dict(zip(ops, chosen, strict=True)) | {"node.inputs": kept})
        reached.add(Trial(trial).choose_edges("node", options, 2, first))
    assert reached == set(all_edges(options, 2))
    assert Trial(Published()).choose_edges("node", options, 2, first) == first


def test_a_space_inside_a_space_keeps_its_prefix():
    first = Published()
    space = SPACES["mobilenet_v2"]
    pick = Trial(first)
    space.build(pick.within("backbone"))
    assert set(first.params) == {f"backbone.{name}" for name in space.published().decisions}


def test_a_question_with_one_answer_is_not_asked():
    first = Published()
    assert Trial(first).value("width", [0.5]) == 0.5
    assert Trial(first).choose_edges("node", {0: ["sep"], 1: ["sep"]}, 2, ("sep@0", "sep@1")) == ("sep@0", "sep@1")
    assert not first.params
