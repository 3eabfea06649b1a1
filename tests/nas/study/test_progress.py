"""A study says each trial that ends once, whoever worked at it."""

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from nas.study.progress import TrialProgress


def add(study, state, mAP=None, **notes):
    score = {} if mAP is None else {"score": {"mAP": mAP, "minutes": 1.25}}
    values = {"value": mAP} if state == TrialState.COMPLETE else {}
    parameters = {"params": {"x": 0.5}, "distributions": {"x": FloatDistribution(0, 1)}}
    study.add_trial(create_trial(state=state, user_attrs={**score, **notes}, **values, **parameters))


def test_trials_are_said_as_they_end(tmp_path, capfd):
    study = optuna.create_study(direction="maximize")
    add(study, TrialState.COMPLETE, 0.25)
    progress = TrialProgress(study, 5, tmp_path)
    progress.tell()
    assert capfd.readouterr().err == "", "that one had ended before"
    add(study, TrialState.COMPLETE, 0.2)
    add(study, TrialState.PRUNED, 0.1)
    add(study, TrialState.FAIL, why="it diverged")
    add(study, TrialState.FAIL)
    progress.tell()
    progress.tell()
    lines = capfd.readouterr().err.splitlines()
    assert [line.rpartition("  ")[0] for line in lines] == [
        "tune 2/5  trial 1  mAP 20.0  best 25.0  1.2 min",
        "tune 3/5  trial 2  mAP 10.0  best 25.0  pruned  1.2 min",
        "tune 4/5  trial 3  best 25.0  failed",
    ]
