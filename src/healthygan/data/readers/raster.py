"""PNG, JPEG, BMP and WebP."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import imagecodecs
import numpy as np
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from healthygan.common.errors import UnreadableImage
from healthygan.data.readers.base import BoundedFile, DecodedImage, ImageInfo, ReaderOptions, read_start, value_range

GREY_MODES = ("1", "L", "LA", "I", "F", "I;16", "I;16L", "I;16B")
"""Pillow's modes of one channel."""
DECODERS: dict[bytes, type[ImageFile]] = {
    b"\x89PNG": PngImageFile,
    b"\xff\xd8\xff": JpegImageFile,
    b"BM": BmpImageFile,
    b"RIFF": WebPImageFile,
}
"""By a file's first bytes. Not ``Image.open``: its limit of pixels is one for the whole process."""
PIXEL_BYTES = {"1": 4, "L": 3, "LA": 11, "I;16": 6, "I;16L": 6, "I;16B": 6, "I": 12, "F": 12}
"""Memory that a pixel takes while Pillow decodes it and hands it over, by mode."""
COLOUR_BYTES = 14
"""The same for all other modes."""
JPEG_BYTES = 6
"""More a pixel for the coefficients of a progressive JPEG."""
WEBP_BYTES = 8
"""More a pixel of a WebP, whose decoder keeps two pictures of its own."""


class PlainReader:
    """PNG, JPEG, BMP and WebP; 8 and 16 bits, grey or colour; an alpha channel is dropped.

    Args:
        sufficient: as in ``read_frames``.
    """

    def __init__(self, sufficient: int = 0) -> None:
        self.sufficient = sufficient

    def probe(self, path: Path, options: ReaderOptions) -> ImageInfo:
        """The header, by Pillow."""
        with _opened(path) as image:
            samples = self._deep_samples(path)
            depth = 16 if samples or image.mode.startswith(("I", "F")) else 8
            grey = samples <= 2 if samples else image.mode in GREY_MODES
            a_pixel = 2 * samples if samples else PIXEL_BYTES.get(image.mode, COLOUR_BYTES)
            a_pixel += JPEG_BYTES if image.info.get("progressive") else 0
            a_pixel += WEBP_BYTES if image.format == "WEBP" else 0
            memory = image.height * image.width * a_pixel + path.stat().st_size
            return ImageInfo(str(image.format), image.height, image.width, 1 if grey else 3, depth, (0,), memory)

    def frames(self, path: Path, options: ReaderOptions) -> Iterator[DecodedImage]:
        """The one frame."""
        yield self._deep(path) if self._deep_samples(path) else self._shallow(path)

    def _deep_samples(self, path: Path) -> int:
        """Samples a pixel of a 16-bit PNG with several, which Pillow would cut down to 8 bits; else 0."""
        start = read_start(path)
        if start[:4] != b"\x89PNG" or start[24] != 16:
            return 0
        return {2: 3, 4: 2, 6: 4}.get(start[25], 0)

    def _deep(self, path: Path) -> DecodedImage:
        pixels = np.asarray(imagecodecs.png_decode(path.read_bytes()))
        pixels = pixels[..., 0] if pixels.shape[2] == 2 else pixels[..., :3]
        return DecodedImage(pixels, *value_range(pixels))

    def _shallow(self, path: Path) -> DecodedImage:
        with _opened(path) as image:
            width, height = image.size
            if self.sufficient:
                image.draft(None, (self.sufficient, self.sufficient))
            image.load()
            if image.mode in ("1", "LA"):
                pixels = np.asarray(image.convert("L"))
            else:
                pixels = np.asarray(image if image.mode in (*GREY_MODES, "RGB") else image.convert("RGB"))
        low, high = (0.0, 65535.0) if pixels.dtype == np.int32 else value_range(pixels)
        return DecodedImage(pixels, low, high, full_size=(height, width))


@contextmanager
def _opened(path: Path) -> Iterator[ImageFile]:
    start = read_start(path)
    decoder = next(decoder for mark, decoder in DECODERS.items() if start.startswith(mark))
    with BoundedFile(path) as file:
        try:
            image = decoder(file)
        except SyntaxError as error:
            raise UnreadableImage(f"{path}: damaged header; copy it again or leave it out") from error
        with image:
            yield image
