"""The detectors there are: the one place that knows them all."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import Discriminator, Tag

from healthygan.detectors.base import Detector, DetectorConfig
from healthygan.detectors.healthygan import HealthyGAN, HealthyGANConfig
from healthygan.detectors.healthygan_plus import HealthyGANPlus, HealthyGANPlusConfig

DEFAULT = HealthyGAN.name
DETECTORS: dict[str, type[Detector]] = {kind.name: kind for kind in (HealthyGAN, HealthyGANPlus)}


def _name(value: Any) -> str:
    """The kind that settings are of; settings that name none are the default's."""
    return str(value.get("name", DEFAULT) if isinstance(value, Mapping) else getattr(value, "name", DEFAULT))


AnyDetectorConfig: TypeAlias = Annotated[
    Annotated[HealthyGANConfig, Tag("healthygan")] | Annotated[HealthyGANPlusConfig, Tag("healthygan+")],
    Discriminator(_name),
]
"""Settings of any detector, told apart by ``name``."""


def build(config: DetectorConfig, channels: int, size: int, seed: int) -> Detector:
    """An untrained detector for images of channels x size x size.

    Raises:
        ValueError: the settings do not suit such images.
    """
    return DETECTORS[config.name](config, channels, size, seed)
