"""From a cohort to a finished run: configuration, partition, training, choice of checkpoint, calibration.

``train.train`` is the way in; all it leaves behind is in the run folder.
"""

from healthygan.runs.config import Config, SelectionConfig, load_config, parse_config, preset_names

__all__ = ["Config", "SelectionConfig", "load_config", "parse_config", "preset_names"]
