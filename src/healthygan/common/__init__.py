"""What every package may use: errors, files, tensors on disk, the run folder, progress, messages.

Nothing here knows images or detectors.
"""

from healthygan.common.errors import InputError, UnreadableImage

__all__ = ["InputError", "UnreadableImage"]
