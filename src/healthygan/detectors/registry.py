"""The detectors there are: the one place that knows them all."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import Discriminator, Tag

from healthygan.detectors.alad import ALAD, ALADConfig
from healthygan.detectors.alocc import ALOCC, ALOCCConfig
from healthygan.detectors.base import Detector, DetectorConfig
from healthygan.detectors.brainomaly import Brainomaly, BrainomalyConfig
from healthygan.detectors.contrast.detector import Contrast, ContrastConfig
from healthygan.detectors.ddad import DDAD, DDADConfig
from healthygan.detectors.fanogan import FAnoGAN, FAnoGANConfig
from healthygan.detectors.ganomaly import GANomaly, GANomalyConfig
from healthygan.detectors.healthygan import HealthyGAN, HealthyGANConfig
from healthygan.detectors.healthygan_plus import HealthyGANPlus, HealthyGANPlusConfig
from healthygan.detectors.padim import PaDiM, PaDiMConfig
from healthygan.detectors.patchcore import PatchCore, PatchCoreConfig

DEFAULT = HealthyGAN.name
KINDS: tuple[type[Detector], ...] = (
    *(HealthyGAN, HealthyGANPlus, Contrast),
    *(ALAD, ALOCC, FAnoGAN, GANomaly, PaDiM, PatchCore),
    *(Brainomaly, DDAD),
)
DETECTORS = {kind.name: kind for kind in KINDS}


def _name(value: Any) -> str:
    """The kind that settings are of; settings that name none are the default's."""
    return str(value.get("name", DEFAULT) if isinstance(value, Mapping) else getattr(value, "name", DEFAULT))


AnyDetectorConfig: TypeAlias = Annotated[
    Annotated[HealthyGANConfig, Tag("healthygan")]
    | Annotated[HealthyGANPlusConfig, Tag("healthygan+")]
    | Annotated[ALADConfig, Tag("alad")]
    | Annotated[ALOCCConfig, Tag("alocc")]
    | Annotated[FAnoGANConfig, Tag("fanogan")]
    | Annotated[GANomalyConfig, Tag("ganomaly")]
    | Annotated[BrainomalyConfig, Tag("brainomaly")]
    | Annotated[DDADConfig, Tag("ddad")]
    | Annotated[ContrastConfig, Tag("contrast")]
    | Annotated[PaDiMConfig, Tag("padim")]
    | Annotated[PatchCoreConfig, Tag("patchcore")],
    Discriminator(_name),
]
"""Settings of any detector, told apart by ``name``."""


def build(config: DetectorConfig, channels: int, size: int, seed: int) -> Detector:
    """An untrained detector for images of channels x size x size.

    Raises:
        ValueError: the settings do not suit such images.
    """
    return DETECTORS[config.name](config, channels, size, seed)
