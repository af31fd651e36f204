"""A finished run put to use: the Predictor, scoring of piles, engines, and whether to trust a score.

``score.score`` ranks files; ``predictor.Predictor`` scores arrays and files and writes nothing.
"""

from healthygan.inference.predictor import Predictions, Predictor

__all__ = ["Predictions", "Predictor"]
