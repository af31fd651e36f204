"""What every detector trained by gradient steps shares: batches, recipe, loop, checkpoints, logging.

A detector gives a ``Recipe``; ``Training.run`` carries it out and goes on where it was stopped.
"""

from healthygan.training.batches import Batch
from healthygan.training.config import TrainingConfig
from healthygan.training.loop import Training
from healthygan.training.recipe import Recipe

__all__ = ["Batch", "Recipe", "Stopped", "Training", "TrainingConfig"]
