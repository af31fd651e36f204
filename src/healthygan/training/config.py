"""Settings of training: how long, on what, with which seed."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


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
