"""The methods: one file, or folder, each; none knows another's internals.

``registry.build`` makes any of them from its settings.
"""

from healthygan.detectors.base import Detector, DetectorConfig, Prediction
from healthygan.detectors.registry import DETECTORS, build

__all__ = ["DETECTORS", "Detector", "DetectorConfig", "Prediction", "build"]
