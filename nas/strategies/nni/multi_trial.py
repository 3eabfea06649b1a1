"""NNI's searches that try one architecture after the other, as pure functions of history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nni.nas.strategy
import numpy as np
from nni.common.hpo_utils import format_parameters
from nni.mutable import Categorical, MutableDict
from nni.nas.execution import ExecutionEngine
from nni.nas.execution.event import FinalMetricEvent, TrainingEndEvent
from nni.nas.space import ExecutableModelSpace, ModelStatus, RawFormatModelSpace
from nni.nas.strategy.evolution import Individual
from nni.nas.strategy.utils import DeduplicationHelper

from nas.strategies.nni.choices import Answers, seeded
from nas.strategies.nni.install import quiet
from nas.strategies.nni.settings import MultiTrialSettings
from nas.strategies.trials import Proposal, Trial
from search_spaces.architecture import Value
from search_spaces.space import SearchSpace
from search_spaces.trial import Published, proposed


class Questions(Published):
    """In an Optuna trial's place: keeps what is asked, with all choices."""

    def __init__(self) -> None:
        super().__init__()
        self.choices: dict[str, Sequence[Value]] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Value]) -> Value:
        self.choices[name] = choices
        return super().suggest_categorical(name, choices)


class Submitted(Exception):
    """A strategy wants `model` to be trained."""

    def __init__(self, model: ExecutableModelSpace) -> None:
        super().__init__()
        self.model = model


class Interruption(ExecutionEngine):
    """Leaves a strategy at a model that it submits. What it knows is all in its attributes: it can be run again."""

    def __init__(self) -> None:
        super().__init__()
        self.num_skipped = 0
        """Models to come that nobody waits for."""

    def submit_models(self, *models: ExecutableModelSpace) -> None:
        (model,) = models
        if self.num_skipped:
            self.num_skipped -= 1
        else:
            raise Submitted(model)

    def idle_worker_available(self) -> bool:
        return True

    budget_available = idle_worker_available


def propose(
    search: MultiTrialSettings, space: SearchSpace, number: int, told: Sequence[Trial], rng: np.random.Generator
) -> Proposal | None:
    """What one of NNI's strategies, new and told all trials, submits next."""
    seed = int(rng.integers(2**31))
    questions = Questions()
    proposed(space, questions)
    choices = {name: Categorical(options, label=name) for name, options in questions.choices.items()}
    engine = Interruption()
    with quiet(), seeded(told[0].notes["seed"] if told else seed):  # by which a controller's weights begin
        strategy = nni_strategy(search, seed)
        strategy.initialize(RawFormatModelSpace(MutableDict(choices), None), engine)
        teach(strategy, engine, search, number, told)
        model = submitted(strategy, seed)
    if model is None:
        return None
    return Proposal(proposed(space, Answers(model.sample)), {"seed": seed, "sample": model.sample})


def submitted(strategy: nni.nas.strategy.base.Strategy, seed: int) -> ExecutableModelSpace | None:
    try:
        with seeded(seed):
            strategy._run()
    except Submitted as reached:
        return reached.model
    return None


def teach(
    strategy: nni.nas.strategy.base.Strategy,
    engine: Interruption,
    search: MultiTrialSettings,
    number: int,
    told: Sequence[Trial],
) -> None:
    """Brings a new strategy to where it is after these trials.

    The grid has an order of its own. Of all others but the controller NNI loads what is told; the controller's search
    is replayed, and does not learn from a trial that it would not have proposed, as can be between several workers.
    """
    samples = [dict(trial.notes["sample"]) for trial in told]
    values = [trial.score.value for trial in told]
    match search.algorithm:
        case "GridSearch":
            engine.num_skipped = number
        case "TPE":
            options = {label: choice.as_legacy_dict() for label, choice in strategy.model_space.simplify().items()}
            strategy.tuner.update_search_space(options)
            for place, (sample, value) in enumerate(zip(samples, values, strict=True)):
                strategy.tuner._running_params[place] = format_parameters(sample, strategy.tuner.space)
                strategy.tuner.receive_trial_result(place, sample, value)
        case "PolicyBasedRL":
            for trial in told:
                model = submitted(strategy, trial.notes["seed"])
                if model is not None and model.sample == trial.notes["sample"]:
                    engine.dispatch_model_event(FinalMetricEvent(model, trial.score.value))
                    engine.dispatch_model_event(TrainingEndEvent(model, ModelStatus.Trained))
        case _:
            tried = DeduplicationHelper()
            for sample in samples:
                tried.dedup(sample)
            population = [Individual(*pair) for pair in zip(samples, values, strict=True)][-search.population :]
            state: dict[str, Any] = strategy.state_dict()
            strategy.load_state_dict({**state, **tried.state_dict(), "population": population})


def nni_strategy(search: MultiTrialSettings, seed: int) -> nni.nas.strategy.base.Strategy:
    kind = getattr(nni.nas.strategy, search.algorithm)
    match search.algorithm:
        case "GridSearch":
            return kind(shuffle=False, seed=seed)
        case "RegularizedEvolution":
            return kind(population_size=search.population, sample_size=search.sample, seed=seed)
        case "TPE":
            return kind(optimize_mode="maximize", seed=seed)
        case "PolicyBasedRL":
            return kind()
        case _:
            return kind(seed=seed)
