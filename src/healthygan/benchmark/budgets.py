"""What each method of a benchmark may spend: one YAML file for all, so that every budget can be read in one place.

base: small                  # preset whose preprocessing and selection every method shares
set: [selection.rule=last]   # for every method
methods:                     # a detector that is not named has the preset of its own name
  healthygan: {preset: small, set: [training.iterations=3000]}
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from healthygan.common.errors import Argument, InputError
from healthygan.detectors.registry import DETECTORS
from healthygan.runs.config import Config, load_config, preset_names, read_yaml

ALL = "all"
SHARED = ("preprocessing.", "selection.", "training.seed", "training.devices")
"""Settings that may not differ between the methods of one benchmark."""


@dataclass(frozen=True)
class Method:
    """A detector with its settings, under the name that the tables show."""

    name: str
    config: Config

    def seeded(self, seed: int) -> Config:
        """The settings of one of its trainings."""
        training = self.config.training.model_copy(update={"seed": seed})
        return self.config.model_copy(update={"training": training})


class Allowance(BaseModel):
    """Where one method's settings come from; by default the preset of its own name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str | None = None
    set: tuple[str, ...] = ()

    @field_validator("set")
    @classmethod
    def _leaves_alone_what_is_shared(cls, settings: tuple[str, ...]) -> tuple[str, ...]:
        for setting in settings:
            if setting.startswith(SHARED):
                raise ValueError(f"{setting}: must be the same for all methods; put it into 'set' at the top")
        return settings


class Budget(BaseModel):
    """The content of a budget's file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str
    set: tuple[str, ...] = ()
    methods: dict[str, Allowance] = {}

    @field_validator("methods")
    @classmethod
    def _names_can_be_folders(cls, methods: dict[str, Allowance]) -> dict[str, Allowance]:
        for name in methods:
            if not re.fullmatch(r"\w[\w.+-]{0,63}", name) or name == ALL:
                raise ValueError(f"method {name!r}: use up to 64 letters, digits, '-', '_', '+' and '.'")
        return methods


def budget_names() -> list[str]:
    """The budgets that come with the package."""
    return sorted(entry.name.removesuffix(".yaml") for entry in (files("healthygan") / "configs/budgets").iterdir())


def load_budget(source: str) -> Budget:
    """Read a budget by name, or a YAML file.

    Raises:
        InputError: no such budget or file, or it cannot be used.
    """
    if source in budget_names():
        content = read_yaml(files("healthygan") / "configs/budgets" / f"{source}.yaml", source)
    elif source.endswith((".yaml", ".yml")):
        content = read_yaml(Path(source), source)
    else:
        raise InputError(
            Argument("budget", source), f": none of {', '.join(budget_names())}; or give a .yaml file of your own"
        )
    try:
        return Budget.model_validate(content)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = ".".join(map(str, fault["loc"])) or "the file"
        raise InputError(f"{source}: {place}: {fault['msg'].removeprefix('Value error, ')}") from None


def plan(budget: Budget, detectors: str, overrides: Iterable[str] = ()) -> list[Method]:
    """The methods to compare, with all their settings checked.

    Args:
        detectors: "all", or names separated by commas: of the budget's methods or of detectors there are.
        overrides: ``section.field=value`` for every method, ``NAME:section.field=value`` for one.

    Raises:
        InputError: an unknown name, or settings that cannot be; names the method.
    """
    names = _chosen(budget, detectors)
    common, own = _sorted_out(names, overrides)
    base = load_config(budget.base)
    shared = [
        f"{name}={json.dumps(getattr(base, name).model_dump(mode='json'))}" for name in ("preprocessing", "selection")
    ]
    methods = []
    for name in names:
        allowance = budget.methods.get(name, Allowance())
        settings = [*shared, *budget.set, *allowance.set, *common, *own[name]]
        try:
            config = load_config(_preset(name, allowance), settings)
        except InputError as error:
            raise InputError(
                f"method {name}: ", *error.args, " (or leave it out of ", Argument("detectors"), ")"
            ) from None
        if config.training.devices * config.training.nodes > 1:
            raise InputError(
                "training.devices: each training of a benchmark has one device; use ",
                Argument("workers"),
                " for several",
            )
        methods.append(Method(name, config))
    return methods


def _chosen(budget: Budget, detectors: str) -> list[str]:
    known = [*DETECTORS, *(name for name in budget.methods if name not in DETECTORS)]
    if detectors == ALL:
        return known
    names = list(dict.fromkeys(name.strip() for name in detectors.split(",") if name.strip()))
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise InputError(
            Argument("detectors", detectors), f": {', '.join(unknown) or 'none'} not among {', '.join(known)}"
        )
    return names


def _sorted_out(names: Sequence[str], overrides: Iterable[str]) -> tuple[list[str], dict[str, list[str]]]:
    """The overrides for all, and those of each method."""
    common: list[str] = []
    own: dict[str, list[str]] = {name: [] for name in names}
    for override in overrides:
        given = Argument("overrides", override)
        place, colon, setting = override.partition("=")[0].partition(":")
        if "training.seed" in (place, setting):
            raise InputError(
                given,
                ": a benchmark trains with the seeds 0, 1, ...; say how many with ",
                Argument("seeds"),
            )
        if not colon:
            common.append(override)
            continue
        if place not in own:
            raise InputError(given, f": no method {place!r} in this benchmark; there are {', '.join(names)}")
        if setting.startswith(SHARED):
            raise InputError(given, f": must be the same for all methods; leave out '{place}:'")
        own[place].append(override.removeprefix(f"{place}:"))
    return common, own


def _preset(name: str, allowance: Allowance) -> str:
    if allowance.preset is None and name not in preset_names():
        raise InputError(f"there is no preset of this name and the budget gives none; add methods.{name}.preset")
    return allowance.preset or name
