"""The contrast detector: what tells the pile from the healthy set, and distance from healthy images.

Positive-unlabelled learning on frozen pretrained features, without a label of the pile.
"""

from healthygan.detectors.contrast.detector import Contrast, ContrastConfig

__all__ = ["Contrast", "ContrastConfig"]
