"""What `nas tune` may change of a recipe: spaces by name; several are joined by `+`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import reduce
from itertools import product
from typing import Any, Protocol, cast

from nas.errors import near_misses
from nas.recipe import Recipe
from nas.system.config import encode
from search_spaces.architecture import Architecture, Value
from search_spaces.trial import Suggests, proposed
from teachers.temperature import Constant, Cosine, Linear, Temperature


class SuggestsNumbers(Suggests, Protocol):
    """What is needed of an Optuna trial."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...


@dataclass(frozen=True)
class Among:
    """One of some values."""

    choices: tuple[Value, ...]


@dataclass(frozen=True)
class Between:
    """A number in [low, high]."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Times:
    """The recipe's own number, up to `factor` times larger or smaller, on a logarithmic scale."""

    factor: float


@dataclass(frozen=True)
class Multiples:
    """One of some multiples of the recipe's own number."""

    factors: tuple[float, ...]

    def of(self, own: float) -> Among:
        return Among(tuple(float(f"{own * factor:.3g}") for factor in self.factors))


@dataclass(frozen=True)
class Open:
    """Every question that the recipe's student asks."""


@dataclass(frozen=True)
class IfThere:
    """Another parameter; a recipe that lacks the field does without."""

    parameter: Among | Between | Times


Parameter = Among | Between | Times | Multiples | Open | IfThere

TEMPERATURES = {"constant": Constant, "linear": Linear, "cosine": Cosine}
OF_TEMPERATURES = ("temperature", "schedule", "temperature_end")
RELATIONS: dict[str, Parameter] = {
    f"loss.{name}_weight": IfThere(Times(5.0))
    for name in ("inter", "intra", "target", "others", "distance", "angle", "similarity", "pkt")
}
DISTILLATION: dict[str, Parameter] = {
    "schedule": IfThere(Among(tuple(TEMPERATURES))),
    "temperature": IfThere(Between(1.0, 10.0, log=True)),
    "temperature_end": IfThere(Between(0.1, 1.0)),
    "loss.alpha": IfThere(Between(0.05, 0.95)),
    "loss.distill_weight": IfThere(Between(0.25, 4.0, log=True)),
    "loss.triplet_weight": IfThere(Between(0.0, 2.0)),
    "loss.margin": IfThere(Between(0.1, 0.6)),
    **RELATIONS,
    "retrain.optimiser.lr": Times(5.0),
}
SPACES: dict[str, dict[str, Parameter]] = {
    "fast_reid": {"temperature": Among((1.0, 2.0, 5.0, 10.0)), "loss.alpha": Among((0.1, 0.3, 0.5))},
    "vrkd": {
        "temperature": Among((1.0, 2.0, 4.0, 8.0, 16.0)),
        "loss.distill_weight": Among((0.25, 0.5, 1.0, 2.0, 4.0)),
    },
    "rate": {"retrain.optimiser.lr": Multiples((1 / 3, 1.0, 3.0))},
    "ksl": {"loss.on": Among(("embedding", "feature")), "loss.e_joins": Among((False, True))},
    "oim_weight": {"loss.weight": Among((0.1, 0.3, 0.6, 1.0))},
    "kd_det": {
        "temperature": Among((1.0, 5.0, 10.0)),
        "loss.detector.mu": Among((0.25, 0.5, 0.75)),
        "loss.detector.gamma": Among((0.0, 0.5, 1.0)),
    },
    "distillation": DISTILLATION,
    "architecture": {"architecture": Open()},
    "joint": DISTILLATION | {"architecture": Open()},
}
"""By name, what is asked. A parameter is called as the field of the recipe that it sets, but for `temperature` (T, at
first), `schedule` and `temperature_end` (not asked for a constant one), which make `loss.temperature`, and for
`architecture`. `rate` is for networks that are compared with each other, each at a rate that suits it. `fast_reid` is
the grid of its Table 2. `vrkd` stands for its Figure 6, around the paper's T = 2 and lambda = 1: the paper's text
does not say which values the figure has. `ksl` is what its paper leaves open. `oim_weight` is Figure 1 of person
search, and `kd_det` stands around its T = 10, mu = 0.5 and gamma = 0.5."""


_GRIDS = [name for name, asked in SPACES.items() if all(isinstance(each, Among | Multiples) for each in asked.values())]


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What a trial suggests: encoded values of the recipe's fields, and an architecture where that is asked for."""

    overrides: dict[str, Any]
    architecture: Architecture | None = None


@dataclass(frozen=True)
class Space:
    """The parameters of one study, by name."""

    name: str
    parameters: Mapping[str, Parameter]

    @classmethod
    def named(cls, name: str, recipe: Recipe) -> Space:
        """The space as far as `recipe` has it. Raises ValueError for an unknown name, or a field that must be there."""
        for part in name.split("+"):
            if part not in SPACES:
                raise ValueError(
                    f"no parameters are called {part!r}{near_misses(part, SPACES)}; the names are {', '.join(SPACES)}"
                    ", and several joined by +"
                )
        parameters = reduce(dict.__or__, (SPACES[part] for part in name.split("+")))
        known = {
            key: parameter.parameter if isinstance(parameter, IfThere) else parameter
            for key, parameter in parameters.items()
            if not isinstance(parameter, IfThere) or _is_there(recipe, key, parameter.parameter)
        }
        space = cls(name, known)
        space._check(recipe)
        return cls(name, {key: _of_recipe(parameter, _field(recipe, key)) for key, parameter in known.items()})

    @property
    def has_architecture(self) -> bool:
        return "architecture" in self.parameters

    def grid(self) -> list[dict[str, Value]]:
        """All combinations. Raises ValueError when a parameter is not one of some values."""
        choices = {key: among.choices for key, among in self.parameters.items() if isinstance(among, Among)}
        if endless := [key for key in self.parameters if key not in choices]:
            raise ValueError(
                f"a grid needs values to choose among, and {', '.join(endless)} of the space "
                f"{self.name!r} has none: take --sampler tpe, or one of the spaces {', '.join(_GRIDS)}"
            )
        return [dict(zip(choices, combination, strict=True)) for combination in product(*choices.values())]

    def propose(self, recipe: Recipe, trial: SuggestsNumbers, num_ids: int) -> Proposal:
        """Asks `trial` for everything; `num_ids` identities are trained on."""
        architecture = proposed(recipe.retrained.with_ids(num_ids), trial) if self.has_architecture else None
        asked = {
            key: self._ask(key, recipe, trial)
            for key in self.parameters
            if key not in ("architecture", "temperature_end")
        }
        overrides = {
            _place(recipe, key): value for key, value in asked.items() if key not in ("temperature", "schedule")
        }
        if "temperature" in asked:
            overrides[_place(recipe, "loss.temperature")] = encode(self._temperature(asked, recipe, trial))
        return Proposal(overrides=overrides, architecture=architecture)

    def _ask(self, key: str, recipe: Recipe, trial: SuggestsNumbers) -> Value:
        match self.parameters[key]:
            case Among(choices):
                return trial.suggest_categorical(key, choices)
            case Between(low, high, log):
                return trial.suggest_float(key, low, high, log=log)
            case Times(factor):
                own = _field(recipe, key)
                return trial.suggest_float(key, own / factor, own * factor, log=True)
        raise AssertionError(f"{key} is asked elsewhere")

    def _temperature(self, asked: Mapping[str, Value], recipe: Recipe, trial: SuggestsNumbers) -> Temperature:
        kind: Any = TEMPERATURES[str(asked.get("schedule", "constant"))]
        first = cast(float, asked["temperature"])
        if kind is Constant:
            return Constant(value=first)
        return kind(start=first, end=self._ask("temperature_end", recipe, trial))

    def _check(self, recipe: Recipe) -> None:
        for key in map(_set_by, self.parameters):
            if "." in key and _field(recipe, key) is None:
                raise ValueError(
                    f"the space {self.name!r} sets {key}, which the recipe does not have (its loss is "
                    f"{type(recipe.loss).__name__}): take another space or another recipe"
                )
        if self.has_architecture and not recipe.retrained.with_ids(1).published().decisions:
            raise ValueError(
                f"nothing is open in {recipe.retrained.title}, so that its architecture cannot be tuned: "
                "take a student whose space asks something"
            )
        if {"temperature", *RELATIONS} & set(self.parameters) and recipe.teacher is None:
            raise ValueError(
                f"the space {self.name!r} tunes what a teacher says, and the recipe has no teacher: take "
                "--parameters architecture, or a recipe with a teacher"
            )


def _of_recipe(parameter: Parameter, own: Any) -> Parameter:
    return parameter.of(own) if isinstance(parameter, Multiples) else parameter


def _set_by(key: str) -> str:
    """The field that a parameter sets; `architecture` is none."""
    return "loss.temperature" if key in OF_TEMPERATURES else key


def _is_there(recipe: Recipe, key: str, parameter: Parameter) -> bool:
    """Whether the recipe has what a parameter sets; a multiple of 0 is nothing to ask for."""
    own = _field(recipe, _set_by(key))
    return own is not None and not (isinstance(parameter, Times) and own == 0)


def _place(recipe: Recipe, path: str) -> str:
    """Where the recipe has a field: a loss around another one (KSL's, that of hints) leaves its own to that one, but
    for what it alone has."""
    loss, place = recipe.loss, "loss."
    name = path.removeprefix("loss.").partition(".")[0]
    while hasattr(loss, "each") and name not in (field.name for field in fields(loss)):
        loss, place = loss.each, place + "each."
    return path.replace("loss.", place) if path.startswith("loss.") else path


def _field(recipe: Recipe, path: str) -> Any:
    """The value of a dotted field; None where there is none."""
    value: Any = recipe
    for name in _place(recipe, path).split("."):
        if not is_dataclass(value) or name not in (field.name for field in fields(value)):
            return None
        value = getattr(value, name)
    return value
