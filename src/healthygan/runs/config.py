"""The configuration of a run: typed, checked before any work starts, saved with the model."""

from collections.abc import Iterable, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from healthygan.common.errors import Argument, InputError
from healthygan.common.files import write_text
from healthygan.common.messages import hint
from healthygan.data.preprocessing import Preprocessing
from healthygan.detectors.base import EarlyStoppingConfig
from healthygan.detectors.healthygan import HealthyGANConfig
from healthygan.detectors.registry import DETECTORS, AnyDetectorConfig
from healthygan.stats.metrics import PatientScore
from healthygan.training.config import TrainingConfig

MOST_BYTES, MOST_NODES = 1_000_000, 10_000
"""A file of settings is smaller and holds fewer values; more are no settings, or an attack."""
Rule: TypeAlias = Literal["last", "validation_auc", "early_stopping", "fid", "aucp"]


class SelectionConfig(BaseModel):
    """Which candidate becomes the model, and where its score is cut."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: Rule = Field(
        "validation_auc",
        description="fid and aucp choose without labels; early_stopping: the detector's own metric on held-out "
        "healthy images, where it has one; validation_auc, where validation has no labels, takes that or else the "
        "last one",
    )
    extractor: str = Field("tf_efficientnet_lite0", description="pretrained network whose features FID compares")
    extractor_weights: Path | None = Field(None, description="file of its weights, where they do not come with it")
    choice_holdout: float = Field(
        0.1,
        ge=0,
        le=0.5,
        description="share of the healthy and of the mixed set kept out of training: it chooses without labels and "
        "shows later whether a new pile is like the old one",
    )
    threshold: Literal["specificity", "youden", "equal_error"] = Field(
        "specificity", description="from healthy images alone; the other two from the validation labels"
    )
    specificity: float = Field(0.9, gt=0, lt=1, description="share of healthy images the threshold leaves alone")
    holdout: float = Field(
        0.1,
        ge=0,
        le=0.5,
        description="share of the healthy set kept for the threshold where validation has no healthy images",
    )
    unit: Literal["image", "patient"] = Field(
        "image", description="what is called diseased, and counted: patient for volumes, by all slices together"
    )
    patient_score: PatientScore = Field(
        "mean", description="a patient's score: mean, max, or top: the mean of the patient_top highest"
    )
    patient_top: int = Field(5, ge=1, description="how many images patient_score=top looks at")
    seed: int = Field(0, ge=0, description="of who is held out; the same for trainings of several seeds")


class Config(BaseModel):
    """Everything a run is made from, but for the images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    detector: AnyDetectorConfig = HealthyGANConfig()
    preprocessing: Preprocessing = Preprocessing()
    training: TrainingConfig = TrainingConfig()
    selection: SelectionConfig = SelectionConfig()

    @model_validator(mode="after")
    def _images_suit_the_detector(self) -> Self:
        self.detector.check(self.preprocessing.size)
        return self

    @model_validator(mode="after")
    def _training_and_selection_suit_the_detector(self) -> Self:
        self.detector.check_training(self.training)
        if self.selection.rule == "early_stopping" and self.early_stopping_share is None:
            raise ValueError(
                f"selection.rule=early_stopping: detector {self.detector.name} has no early-stopping metric "
                "of its own; take validation_auc or last"
            )
        return self

    @model_validator(mode="after")
    def _members_can_be_joined(self) -> Self:
        if self.training.members > 1 and self.training.devices * self.training.nodes > 1:
            raise ValueError(
                "training.members above 1 train one after the other on one device; "
                "set training.devices=1 and training.nodes=1"
            )
        if self.training.members > 1 and not (self.selection.choice_holdout or self.selection.holdout):
            raise ValueError(
                "training.members above 1 are joined by held-out healthy images; raise selection.choice_holdout"
            )
        return self

    @property
    def early_stopping_share(self) -> float | None:
        """Share of the healthy set that tells the detector when to stop; none where it does not stop early."""
        return self.detector.early_stopping_healthy if isinstance(self.detector, EarlyStoppingConfig) else None

    def member(self, number: int) -> "Config":
        """The configuration of one member, numbered from 0: a training of its own seed."""
        training = self.training.model_copy(update={"seed": self.training.seed + number, "members": 1})
        return self.model_copy(update={"training": training})

    def save(self, path: Path) -> None:
        """Write every field as YAML."""
        write_text(path, yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False))


def preset_names() -> list[str]:
    """The presets that come with the package."""
    folder = files("healthygan") / "configs"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_config(source: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a preset by name or a YAML file, then apply ``section.field=value`` overrides.

    Raises:
        InputError: no such preset or file, not YAML, an unknown key or a value out of range; names the key.
    """
    content = _read(source)
    for override in overrides:
        _apply(content, override)
    return parse_config(content, str(source))


def parse_config(content: Mapping[str, Any], origin: str) -> Config:
    """Check a configuration's content; ``origin`` names it in errors.

    Raises:
        InputError: names the key, the value and what is allowed.
    """
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{origin}: {_explain(error)}") from None


def read_yaml(place: Path | Traversable, source: str | Path) -> Any:
    """What a YAML file holds; ``source`` names it in errors.

    Raises:
        InputError: it cannot be read, or is not YAML.
    """
    try:
        if isinstance(place, Path) and place.exists() and not place.is_file():
            raise InputError(f"{source}: is not a file; give a YAML file")
        with place.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise InputError(f"{source}: larger than {MOST_BYTES:,} bytes, so no settings; give a YAML file")
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{source}: cannot be read as text ({error}); give a YAML file") from error
    try:
        return parse_yaml(text)
    except ValueError as error:
        raise InputError(f"{source}: not YAML ({error}); mend that line") from error


def parse_yaml(text: str) -> Any:
    """What YAML text holds.

    Raises:
        ValueError: it is not YAML, nests too deeply, or holds more than ``MOST_NODES`` values once its aliases are
            written out; says which, in one line.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _written_out(node, {}) > MOST_NODES:
            raise ValueError(f"holds more than {MOST_NODES:,} values with its aliases (*) written out")
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError:
        raise ValueError("its lists and sections nest too deeply") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
        # What PyYAML makes of an impossible date, or of a tag that does not suit its value.
        raise ValueError(f"a date or a value with a tag (!!) cannot be read: {error}") from error


def _written_out(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node holds, each alias counted like what it stands for; capped, since it may be beyond count.

    Args:
        known: counts so far by the node's identity; a node that is inside itself has too many.
    """
    if id(node) not in known:
        known[id(node)] = MOST_NODES + 1
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            parts = node.value
        elif isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        known[id(node)] = min(MOST_NODES + 1, 1 + sum(_written_out(part, known) for part in parts))
    return known[id(node)]


def _read(source: str | Path) -> dict[str, Any]:
    path = Path(source)
    if isinstance(source, str) and path.suffix not in (".yaml", ".yml"):
        if source not in preset_names():
            raise InputError(
                Argument("preset", source),
                f": no such preset{hint(source, preset_names())}; "
                f"choose one of {', '.join(preset_names())} or give a .yaml file",
            )
        content = read_yaml(files("healthygan") / "configs" / f"{source}.yaml", source)
    else:
        content = read_yaml(path, source)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InputError(f"{source}: holds a {type(content).__name__}; give sections such as 'training:'")
    return content


def _apply(content: dict[str, Any], override: str) -> None:
    given = Argument("overrides", override)
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise InputError(given, ": no name or no value; write it as section.field=value")
    *sections, field = key.strip().split(".")
    place = content
    for section in sections:
        place = place.setdefault(section, {})
        if not isinstance(place, dict):
            raise InputError(given, f": '{section}' is a value, not a section; see config.yaml of a run")
    try:
        place[field] = parse_yaml(value)
    except ValueError:
        raise InputError(given, f": '{value}' is not a YAML value; quote it") from None


def _explain(error: ValidationError) -> str:
    """The first fault, in one line; for an unknown key the nearest known one."""
    fault = error.errors(include_url=False)[0]
    place = [str(part) for part in fault["loc"]]
    if fault["type"] == "union_tag_invalid":
        name = str(fault["ctx"]["tag"])
        return f"detector.name={name!r}: no such detector{hint(name, [*DETECTORS])}; there are {', '.join(DETECTORS)}"
    known, place = _fields(place[:-1]), _shown(place)
    key = ".".join(place) or "the file"
    if fault["type"] == "extra_forbidden":
        return f"unknown key '{key}'{hint(place[-1], known)}; known here: {', '.join(known)}"
    if not place:
        return str(fault["msg"]).removeprefix("Value error, ")
    return f"{key}={_cut(repr(fault['input']))}: {fault['msg'].removeprefix('Value error, ')}; change this value"


def _cut(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:100]}..."


def _shown(place: list[str]) -> list[str]:
    """A place as the user writes it: without the kind of detector, which pydantic puts behind its section."""
    return place[:1] + place[2:] if place[:1] == ["detector"] else place


def _fields(place: list[str]) -> list[str]:
    """Names of the settings in a section."""
    model: type[BaseModel] = Config
    for number, part in enumerate(place):
        if number == 0 and part == "detector":
            continue
        annotation = DETECTORS[part].Config if place[0] == "detector" else model.model_fields[part].annotation
        assert isinstance(annotation, type) and issubclass(annotation, BaseModel)
        model = annotation
    return list(model.model_fields)
