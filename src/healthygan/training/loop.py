"""What every detector trained by gradient steps shares: the loop, batches, checkpoints, resuming, logging.

Lightning Fabric gives devices, precision and several GPUs; the loop stays ours, since two networks that take
turns read more easily as plain code than as a Trainer's hooks.
"""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import get_total_norm

from healthygan.common.batching import evenly_spaced, in_batches
from healthygan.common.errors import InputError, Stopped
from healthygan.common.memory import memory_kept
from healthygan.common.progress import Progress, silent
from healthygan.common.run_folder import Run
from healthygan.data.preprocessing import to_tensor
from healthygan.data.store import ImageStore
from healthygan.training.batches import Batch, Batches, _mixed_seed
from healthygan.training.config import TrainingConfig
from healthygan.training.logger import TrainingLog, sample_grid
from healthygan.training.recipe import EarlyStoppingRecipe, Recipe

if TYPE_CHECKING:
    from lightning import Fabric

SAMPLES = 6


def learning_rate_factor(iteration: int, settings: TrainingConfig) -> float:
    """1, then falling linearly towards 0 over the last ``decay_iterations``; iterations count from 1."""
    if settings.decay_iterations == 0:
        return 1.0
    return min(1.0, (settings.iterations - iteration + 1) / settings.decay_iterations)


class FiniteWatch:
    """Remembers the first iteration with a loss that is not finite, without waiting for the device."""

    NEVER: ClassVar[int] = torch.iinfo(torch.int64).max

    def __init__(self, fabric: "Fabric") -> None:
        self.fabric = fabric
        self.first = torch.full((), self.NEVER, dtype=torch.int64, device=fabric.device)

    def see(self, iteration: int, losses: Mapping[str, Tensor]) -> None:
        """Look at one iteration's losses, on this device alone."""
        bad = ~torch.stack([value.float() for value in losses.values()]).isfinite().all()
        self.first = torch.where(bad, self.first.clamp(max=iteration), self.first)

    def check(self, run: Run, saved: int) -> None:
        """Stop training on all devices if anything was not finite on any; all must call this together.

        Raises:
            InputError: names the iteration and the last good checkpoint.
        """
        if self.fabric.world_size > 1:
            self.first = torch.as_tensor(self.fabric.all_reduce(self.first, reduce_op="min"))
        if (first := int(self.first)) < self.NEVER:
            kept = f"the last good checkpoint is {run.checkpoint} (iteration {saved})" if saved else "none was saved"
            raise InputError(
                f"{run.path}: a loss stopped being finite at iteration {first}; {kept}; "
                "lower detector.learning_rate or use training.precision=32"
            )


class Training:
    """One run's training: devices, folder, settings, and where an earlier run stopped.

    Args:
        early_stopping_healthy: healthy images held out for an ``EarlyStoppingRecipe``'s metric.
        held_out_mixed: mixed images held out, which a detector that ranks its own pile ranks too.
    """

    def __init__(
        self,
        settings: TrainingConfig,
        run: Run,
        fabric: "Fabric",
        early_stopping_healthy: ImageStore | None = None,
        held_out_mixed: ImageStore | None = None,
        *,
        progress: Progress = silent,
        report: Callable[[Run, Any], None] | None = None,
    ) -> None:
        self.settings = settings
        self.folder = run
        self.fabric = fabric
        self.early_stopping_healthy = early_stopping_healthy
        self.held_out_mixed = held_out_mixed
        self.progress = progress
        self._report = report
        self.metrics: dict[int, float] = {}

    def part(self, folder: Run) -> "Training":
        """The training of a detector that another one is made of, in a folder of its own."""
        return Training(
            self.settings,
            folder,
            self.fabric,
            held_out_mixed=self.held_out_mixed,
            progress=self.progress,
            report=self._report,
        )

    def report(self, findings: object) -> None:
        """Hand on what a detector found of the mixed set, before its weights are kept: whoever has these has both."""
        if self._report is not None:
            self._report(self.folder, findings)

    def run(self, recipe: Recipe, healthy: ImageStore, mixed: ImageStore) -> None:
        """Train to the last iteration or until the recipe has finished, from the run's checkpoint if there is one.

        Raises:
            Stopped: Ctrl-C or SIGTERM came; a checkpoint holds all that was done.
            InputError: a loss stopped being finite, or the checkpoint does not fit.
        """
        done = self._restore(recipe)
        batches = Batches(
            healthy,
            mixed,
            self.settings,
            self.fabric.global_rank,
            self.fabric.world_size,
            uses_mixed=recipe.uses_mixed,
            draws=recipe.draws,
        )
        with (
            memory_kept(),
            _asked_to_stop() as asked,
            TrainingLog(self.folder, done, enabled=self.fabric.is_global_zero) as log,
            self.progress("training", self.settings.iterations, done) as advance,
        ):
            watch = FiniteWatch(self.fabric)
            saved, note = done, ""
            for iteration in range(done + 1, self.settings.iterations + 1):
                if isinstance(recipe, EarlyStoppingRecipe) and recipe.finished(self.metrics):
                    break
                losses = self._iterate(recipe, iteration, batches(iteration))
                watch.see(iteration, losses)
                if self._due(iteration, self.settings.log_every):
                    watch.check(self.folder, saved)
                    note = log.write(iteration, _floats(self._mean(losses)) | _gradient_norms(recipe))
                if self._due(iteration, self.settings.sample_every):
                    self._draw(recipe, mixed, iteration, log)
                stop, due = self._anyone(bool(asked)), self._due(iteration, self.settings.checkpoint_every)
                if stop or due:
                    watch.check(self.folder, saved)
                    if due:
                        self._keep_candidate(recipe, iteration, log)
                    saved = self._save(recipe, iteration)
                advance(note=note)
                if stop and iteration < self.settings.iterations:
                    raise Stopped(f"stopped after iteration {iteration}")

    def _iterate(self, recipe: Recipe, iteration: int, batch: Batch) -> dict[str, Tensor]:
        factor = learning_rate_factor(iteration, self.settings)
        for optimiser in recipe.optimisers().values():
            for group in optimiser.param_groups:
                group["lr"] = optimiser.defaults["lr"] * factor
        device = self.fabric.device
        moved = Batch(batch.mixed.to(device), batch.healthy.to(device), batch.mix.to(device))
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            # The last number keeps these apart from the batches' and gives each device its own.
            torch.manual_seed(_mixed_seed(self.settings.seed, iteration, 1 + self.fabric.global_rank))
            return recipe.step(iteration, moved)

    def _due(self, iteration: int, every: int) -> bool:
        return iteration % every == 0 or iteration == self.settings.iterations

    def _anyone(self, asked: bool) -> bool:
        """Whether any device was asked to stop: all must stop at the same iteration."""
        if self.fabric.world_size == 1:
            return asked
        together = self.fabric.all_reduce(torch.tensor(float(asked), device=self.fabric.device), reduce_op="sum")
        return bool(torch.as_tensor(together) > 0)

    def _mean(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses over all devices' images: each device has only seen its own."""
        if self.fabric.world_size == 1:
            return losses
        together = torch.stack([value.float() for value in losses.values()])
        together = torch.as_tensor(self.fabric.all_reduce(together, reduce_op="mean"))
        return dict(zip(losses, together, strict=True))

    def _restore(self, recipe: Recipe) -> int:
        state = self.folder.load_checkpoint()
        if state is None:
            return 0
        try:
            for name, module in recipe.modules().items():
                module.load_state_dict(state["modules"][name])
            for name, optimiser in recipe.optimisers().items():
                optimiser.load_state_dict(state["optimisers"][name])
            done = int(state["iteration"])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(
                f"{self.folder.checkpoint}: does not fit this configuration ({_first_line(error)}); "
                "resume with the run's own config.yaml"
            ) from error
        self.metrics = {number: value for number, value in self.folder.load_early_stopping().items() if number <= done}
        return done

    def _keep_candidate(self, recipe: Recipe, iteration: int, log: TrainingLog) -> None:
        if not self.fabric.is_global_zero or not recipe.can_score(iteration):
            return
        self.folder.save_candidate(iteration, recipe.weights())
        if isinstance(recipe, EarlyStoppingRecipe) and self.early_stopping_healthy is not None:
            self.metrics[iteration] = self._early_stopping_metric(recipe, self.early_stopping_healthy)
            self.folder.save_early_stopping(self.metrics)
            log.early_stopping_metric(iteration, self.metrics[iteration])

    def _early_stopping_metric(self, recipe: EarlyStoppingRecipe, early_stopping_healthy: ImageStore) -> float:
        """The recipe's metric, averaged over the held-out healthy images."""
        size = self.settings.batch_size
        values = []
        for chosen in in_batches(len(early_stopping_healthy), size):
            values.append(
                recipe.early_stopping_metric(to_tensor(early_stopping_healthy.read(chosen)).to(self.fabric.device))
                .double()
                .cpu()
            )
        return float(torch.cat(values).mean())

    def _save(self, recipe: Recipe, iteration: int) -> int:
        if self.fabric.is_global_zero:
            state: dict[str, Any] = {
                "iteration": iteration,
                "modules": {name: module.state_dict() for name, module in recipe.modules().items()},
                "optimisers": {name: optimiser.state_dict() for name, optimiser in recipe.optimisers().items()},
            }
            self.folder.save_checkpoint(state)
        self.fabric.barrier()
        return iteration

    def _draw(self, recipe: Recipe, mixed: ImageStore, iteration: int, log: TrainingLog) -> None:
        if self.fabric.is_global_zero:
            chosen = evenly_spaced(len(mixed), SAMPLES)
            pictures = recipe.sample(to_tensor(mixed.read(chosen)).to(self.fabric.device))
            log.picture(iteration, sample_grid({name: _array(image) for name, image in pictures.items()}))


def launch(settings: TrainingConfig) -> "Fabric":
    """Start Fabric on the devices asked for.

    Raises:
        InputError: there is no such device here.
    """
    # Only training needs it, and it takes seconds to load.
    from lightning import Fabric

    try:
        fabric = Fabric(
            accelerator=settings.device,
            devices=settings.devices,
            num_nodes=settings.nodes,
            strategy="ddp" if settings.devices * settings.nodes > 1 else "auto",
            precision="bf16-mixed" if settings.precision == "bf16" else "32-true",
        )
        fabric.launch()
        return fabric
    except (RuntimeError, ValueError, ImportError) as error:
        raise InputError(
            f"training.device={settings.device}, training.devices={settings.devices}, "
            f"training.nodes={settings.nodes}: {_first_line(error)}; use training.device=cpu training.devices=1"
        ) from error


@contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """Give a list that fills when Ctrl-C or SIGTERM comes; a second Ctrl-C stops at once."""
    asked: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(number)

    # Python allows handlers in the main thread alone; elsewhere the caller's own remain.
    listened = (signal.SIGINT, signal.SIGTERM) if current_thread() is main_thread() else ()
    before = {number: signal.signal(number, remember) for number in listened}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _gradient_norms(recipe: Recipe) -> dict[str, float]:
    """Euclidean norm of the last gradient of each module that has been trained so far."""
    norms = {}
    for name in recipe.optimisers():
        gradients = [weight.grad for weight in recipe.modules()[name].parameters() if weight.grad is not None]
        if gradients:
            norms[f"{name}_gradient"] = float(get_total_norm(gradients))
    return norms


def _floats(values: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}


def _array(image: Tensor) -> NDArray[np.float32]:
    return image.float().cpu().numpy()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
