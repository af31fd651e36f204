"""Networks and losses: the paper's tables 2 and 3 and its equations 1 to 9; pretrained backbones.

Tensors in, tensors out; nothing here knows files, folders or detectors.
"""

from healthygan.nn.backbones import Backbone, load_backbone
from healthygan.nn.networks import Discriminator, Generator, Translation

__all__ = ["Backbone", "Discriminator", "Generator", "Translation", "load_backbone"]
