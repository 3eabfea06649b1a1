"""NNI's searches that try one architecture after the other, as a proposer."""

from __future__ import annotations

from collections.abc import Sequence

import nni.nas.strategy
import numpy as np
from nni.mutable import Categorical, MutableDict
from nni.nas.execution import ExecutionEngine
from nni.nas.execution.event import FinalMetricEvent, TrainingEndEvent
from nni.nas.space import ExecutableModelSpace, ModelStatus, RawFormatModelSpace

from nas.strategies.board import Trial
from nas.strategies.nni.choices import Answers, seeded
from nas.strategies.nni.install import quiet
from nas.strategies.nni.settings import MultiTrialSettings
from search_spaces.architecture import Architecture, Value
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
    """Leaves a strategy at each model that it submits. What it knows is all in its attributes: it can be run again."""

    def submit_models(self, *models: ExecutableModelSpace) -> None:
        (model,) = models
        raise Submitted(model)

    def idle_worker_available(self) -> bool:
        return True

    budget_available = idle_worker_available


class NNIProposer:
    """Proposes what one of NNI's strategies submits, and reports to it as NNI's engines do."""

    def __init__(self, search: MultiTrialSettings, space: SearchSpace, rng: np.random.Generator) -> None:
        self.space, self.rng = space, rng
        self.engine = Interruption()
        self.models: dict[int, ExecutableModelSpace] = {}
        questions = Questions()
        proposed(space, questions)
        choices = {name: Categorical(options, label=name) for name, options in questions.choices.items()}
        with quiet(), seeded(self._seed()):
            self.strategy = nni_strategy(search, self._seed())
            self.strategy.initialize(RawFormatModelSpace(MutableDict(choices), None), self.engine)

    def _seed(self) -> int:
        return int(self.rng.integers(2**31))

    def ask(self, number: int) -> Architecture | None:
        try:
            with quiet(), seeded(self._seed()):
                self.strategy._run()
        except Submitted as submitted:
            self.models[number] = submitted.model
            return proposed(self.space, Answers(submitted.model.sample))
        return None

    def tell(self, number: int, tried: Trial) -> None:
        model = self.models.pop(number, None)
        if model is not None:
            self.engine.dispatch_model_event(FinalMetricEvent(model, tried.score.value))
            self.engine.dispatch_model_event(TrainingEndEvent(model, ModelStatus.Trained))


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
