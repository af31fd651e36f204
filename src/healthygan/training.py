"""What every detector trained by gradient steps shares: the loop, batches, checkpoints, resuming, logging.

Lightning Fabric gives devices, precision and several GPUs; the loop stays ours, since two networks that take
turns read more easily as plain code than as a Trainer's hooks.
"""

import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import current_thread, main_thread
from types import FrameType
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from lightning import Fabric
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from healthygan.arrays import evenly_spaced, in_batches
from healthygan.data.preprocessing import to_tensor
from healthygan.data.store import ImageStore
from healthygan.errors import InputError
from healthygan.memory import memory_kept
from healthygan.progress import progress
from healthygan.run import Run
from healthygan.training_log import TrainingLog, sample_grid

SAMPLES = 6


class TrainingConfig(BaseModel):
    """How long and on what; the defaults are the paper's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    iterations: int = Field(400_000, ge=1, description="critic steps, as the paper counts")
    decay_iterations: int = Field(100_000, ge=0, description="last iterations, over which the rate falls to 0")
    batch_size: int = Field(16, ge=1, description="images of each set an iteration, over all devices together")
    flip: bool = Field(True, description="random left-right flips")
    seed: int = Field(0, ge=0, description="of first weights, batches, flips and all noise")
    precision: Annotated[Literal["32", "bf16"], BeforeValidator(str)] = Field(
        "32", description="bf16 keeps the weights in 32 bits"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="what to compute on")
    members: int = Field(1, ge=1, le=100, description="trainings of as many seeds, joined into one detector")
    devices: int = Field(1, ge=1, description="how many of them (data-parallel)")
    nodes: int = Field(1, ge=1, description="machines with that many devices each; start the command on every one")
    log_every: int = Field(50, ge=1, description="iterations between two lines of log.csv")
    sample_every: int = Field(2_000, ge=1, description="iterations between two sample grids")
    checkpoint_every: int = Field(10_000, ge=1, description="iterations between two checkpoints and candidates")


class Stopped(Exception):
    """Training was asked to stop; everything needed to go on is saved."""


@dataclass(frozen=True)
class Batch:
    """What one iteration sees on this device: N images of either set and the penalty's mixing coefficients."""

    mixed: Tensor
    """A, N x C x H x W in [-1, 1]; no image where the recipe does without."""
    healthy: Tensor
    """B, likewise."""
    mix: Tensor
    """N x 1 x 1 x 1, uniform in [0, 1]."""

    def parts(self, count: int) -> tuple["Batch", ...]:
        """``count`` batches of N / count images each."""
        split = (tensor.chunk(count) if len(tensor) else (tensor,) * count for tensor in vars(self).values())
        return tuple(Batch(*tensors) for tensors in zip(*split, strict=True))


class Recipe(ABC):
    """What the loop needs of a detector in training.

    Stages are the recipe's own: it is told the iteration. Torch's random numbers in ``step`` are those of the seed
    and the iteration, whatever was drawn before.
    """

    uses_mixed: ClassVar[bool] = True
    """Whether it learns from the mixed set; else that set only lends the sample grids their images."""
    draws: int = 1
    """Batches of each set an iteration, given to ``step`` as one (``Batch.parts``)."""

    @abstractmethod
    def modules(self) -> dict[str, nn.Module]:
        """Everything with weights, for checkpoints."""

    @abstractmethod
    def optimisers(self) -> dict[str, Optimizer]:
        """For checkpoints and the learning-rate plan, by the name of the module each one trains."""

    @abstractmethod
    def step(self, iteration: int, batch: Batch) -> dict[str, Tensor]:
        """Do one iteration, counted from 1; give the losses by name, detached scalars."""

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """What scoring needs, as ``Detector.weights``."""

    @abstractmethod
    def sample(self, x: Tensor) -> dict[str, Tensor]:
        """Named pictures of a batch x, each N x C x H x W in [-1, 1]."""

    def can_score(self, iteration: int) -> bool:
        """Whether the weights after ``iteration`` are worth keeping as a candidate."""
        return True


class WatchedRecipe(Recipe):
    """A recipe that is stopped, and whose candidate is chosen, by a figure of healthy images held out of training."""

    @abstractmethod
    def figure(self, x: Tensor) -> Tensor:
        """(N,): the figure of x, N x C x H x W in [-1, 1]; lower is better. The loop averages over images."""

    @abstractmethod
    def finished(self, figures: Mapping[int, float]) -> bool:
        """Whether to stop, given the averages so far by iteration, ascending."""


def descend(optimiser: Optimizer, loss: Tensor) -> None:
    """One step of ``optimiser`` down ``loss``, on one device."""
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


class Order:
    """An endless, seeded sequence of indices below ``count``; every pass is a new permutation.

    The element at a position depends on nothing else, so a resumed run needs only the position.
    """

    def __init__(self, count: int, *seed: int) -> None:
        self.count = count
        self.seed = seed
        self._pass = -1
        self._permutation: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def take(self, start: int, length: int) -> NDArray[np.int64]:
        """Elements ``start`` to ``start + length``."""
        return np.array([self._at(position) for position in range(start, start + length)], dtype=np.int64)

    def _at(self, position: int) -> int:
        number, place = divmod(position, self.count)
        if number != self._pass:
            self._pass = number
            self._permutation = np.random.default_rng([*self.seed, number]).permutation(self.count)
        return int(self._permutation[place])


class Batches:
    """Batches by iteration number: the same for the same seed, whatever came before.

    With several devices each draws the whole batch's randomness and keeps its own share of the images.
    """

    def __init__(
        self,
        healthy: ImageStore,
        mixed: ImageStore,
        settings: TrainingConfig,
        rank: int = 0,
        ranks: int = 1,
        *,
        uses_mixed: bool = True,
        draws: int = 1,
    ) -> None:
        if settings.batch_size % ranks:
            raise InputError(
                f"training.batch_size: {settings.batch_size} cannot be shared by {ranks} devices; choose a multiple"
            )
        self.stores = {"mixed": mixed, "healthy": healthy}
        self.orders = {
            name: Order(len(store), settings.seed, number) for number, (name, store) in enumerate(self.stores.items())
        }
        self.settings = settings
        self.uses_mixed = uses_mixed
        self.size = settings.batch_size * draws
        share = self.size // ranks
        self.share = slice(rank * share, (rank + 1) * share)

    def __call__(self, iteration: int) -> Batch:
        """The batch of ``iteration``, counted from 1, on the CPU."""
        random = torch.Generator().manual_seed(_mixed_seed(self.settings.seed, iteration))
        mixed = self._images("mixed", iteration, random) if self.uses_mixed else torch.empty(0)
        healthy = self._images("healthy", iteration, random)
        mix = torch.rand(self.size, 1, 1, 1, generator=random)[self.share]
        return Batch(mixed, healthy, mix)

    def _images(self, name: str, iteration: int, random: torch.Generator) -> Tensor:
        chosen = self.orders[name].take((iteration - 1) * self.size, self.size)[self.share]
        images = to_tensor(self.stores[name].read(chosen))
        flipped = torch.rand(self.size, 1, 1, 1, generator=random)[self.share] < 0.5
        return torch.where(flipped, images.flip(3), images) if self.settings.flip else images


def _mixed_seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def learning_rate_factor(iteration: int, settings: TrainingConfig) -> float:
    """1, then falling linearly towards 0 over the last ``decay_iterations``; iterations count from 1."""
    if settings.decay_iterations == 0:
        return 1.0
    return min(1.0, (settings.iterations - iteration + 1) / settings.decay_iterations)


class FiniteWatch:
    """Remembers the first iteration with a loss that is not finite, without waiting for the device."""

    NEVER: ClassVar[int] = torch.iinfo(torch.int64).max

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.first = torch.full((), self.NEVER, dtype=torch.int64, device=fabric.device)

    def see(self, iteration: int, found: Mapping[str, Tensor]) -> None:
        """Look at one iteration's losses, on this device alone."""
        bad = ~torch.stack([value.float() for value in found.values()]).isfinite().all()
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
        watched: healthy images held out for a ``WatchedRecipe``'s figure.
        aside: mixed images held out, which a detector that ranks its own pile ranks too.
    """

    def __init__(
        self,
        settings: TrainingConfig,
        run: Run,
        fabric: Fabric,
        watched: ImageStore | None = None,
        aside: ImageStore | None = None,
    ) -> None:
        self.settings = settings
        self.folder = run
        self.fabric = fabric
        self.watched = watched
        self.aside = aside
        self.figures: dict[int, float] = {}

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
            progress("training", self.settings.iterations, done) as advance,
        ):
            watch = FiniteWatch(self.fabric)
            saved, note = done, ""
            for iteration in range(done + 1, self.settings.iterations + 1):
                if isinstance(recipe, WatchedRecipe) and recipe.finished(self.figures):
                    break
                found = self._iterate(recipe, iteration, batches(iteration))
                watch.see(iteration, found)
                if self._due(iteration, self.settings.log_every):
                    watch.check(self.folder, saved)
                    note = log.write(iteration, _floats(self._mean(found)) | _gradient_norms(recipe))
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
                    raise Stopped(
                        f"stopped after iteration {iteration}; go on with: healthygan train --resume {self.folder.path}"
                    )

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

    def _mean(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses over all devices' images: each device has only seen its own."""
        if self.fabric.world_size == 1:
            return found
        together = torch.stack([value.float() for value in found.values()])
        together = torch.as_tensor(self.fabric.all_reduce(together, reduce_op="mean"))
        return dict(zip(found, together, strict=True))

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
        self.figures = {number: figure for number, figure in self.folder.load_figures().items() if number <= done}
        return done

    def _keep_candidate(self, recipe: Recipe, iteration: int, log: TrainingLog) -> None:
        if not self.fabric.is_global_zero or not recipe.can_score(iteration):
            return
        self.folder.save_candidate(iteration, recipe.weights())
        if isinstance(recipe, WatchedRecipe) and self.watched is not None:
            self.figures[iteration] = self._figure(recipe, self.watched)
            self.folder.save_figures(self.figures)
            log.figure(iteration, self.figures[iteration])

    def _figure(self, recipe: WatchedRecipe, watched: ImageStore) -> float:
        """The recipe's figure, averaged over the held-out healthy images."""
        size = self.settings.batch_size
        found = []
        for chosen in in_batches(len(watched), size):
            found.append(recipe.figure(to_tensor(watched.read(chosen)).to(self.fabric.device)).double().cpu())
        return float(torch.cat(found).mean())

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


def launch(settings: TrainingConfig) -> Fabric:
    """Start Fabric on the devices asked for.

    Raises:
        InputError: there is no such device here.
    """
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


def _floats(found: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in found.items()}


def _array(image: Tensor) -> NDArray[np.float32]:
    return image.float().cpu().numpy()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
