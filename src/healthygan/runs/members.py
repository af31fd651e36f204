"""Several trainings of one configuration, each in a run folder of its own, and how they become one detector."""

from collections.abc import Callable
from pathlib import Path

from healthygan.common.errors import InputError, Stopped
from healthygan.common.run_folder import Run
from healthygan.common.tensors import load_tensors
from healthygan.detectors.ensemble import Ensemble
from healthygan.runs.config import Config
from healthygan.runs.reference import load_reference
from healthygan.runs.selection import Selection


def train_members(run: Run, config: Config, train_member: Callable[[Config, Path], Run]) -> None:
    """Train a configuration's members one after the other; finished ones are left as they are.

    Raises:
        Stopped: Ctrl-C or SIGTERM; names the member.
    """
    count = config.training.members
    for number in range(count):
        try:
            train_member(config.member(number), run.member(number).path)
        except Stopped as stopped:
            raise Stopped(f"member {number} of {count}: {stopped}") from None


def join_members(run: Run, config: Config, ensemble: Ensemble) -> Selection:
    """Give an ensemble its members' models and the scale of their scores.

    Returns:
        What the members' own choices come to.

    Raises:
        InputError: a member has too few held-out healthy images to scale its scores by.
    """
    members = [run.member(number) for number in range(config.training.members)]
    # Members are joined image by image, whatever is judged by the joined scores afterwards.
    by_image = config.selection.model_copy(update={"unit": "image"})
    references = [load_reference(member, by_image) for member in members]
    # The images that chose the checkpoints rather than those that will carry the threshold's promise.
    apart = all(len(reference.choice_healthy) > 1 for reference in references)
    healthy = [reference.choice_healthy if apart else reference.threshold for reference in references]
    try:
        ensemble.join([load_tensors(member.model) for member in members], healthy)
    except ValueError as error:
        raise InputError(f"{run.path}: {error}; raise selection.choice_holdout or add healthy images") from error
    decisions = [member.load_decision() for member in members]
    last = max(decision.iteration for decision in decisions)
    rules = "; ".join(f"seed {config.training.seed + n}: {decision.rule}" for n, decision in enumerate(decisions))
    return Selection(chosen=last, rule=f"mean of {len(members)} members ({rules})", last=last)
