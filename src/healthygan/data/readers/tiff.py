"""TIFF, page by page."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile

from healthygan.common.errors import UnreadableImage
from healthygan.data.readers.base import DecodedImage, ImageInfo, ReaderOptions, _check_size, value_range

PLAIN_PHOTOMETRICS = (
    tifffile.PHOTOMETRIC.MINISWHITE,
    tifffile.PHOTOMETRIC.MINISBLACK,
    tifffile.PHOTOMETRIC.RGB,
    tifffile.PHOTOMETRIC.PALETTE,
)
JPEG_IN_TIFF = (tifffile.COMPRESSION.JPEG, tifffile.COMPRESSION.OJPEG)
"""Their decoder turns YCbCr into RGB."""


class TiffReader:
    """TIFF with any compression, grey, RGB or palette; pages are frames."""

    def probe(self, path: Path, options: ReaderOptions) -> ImageInfo:
        """The first page's header and the number of pages."""
        with tifffile.TiffFile(path) as file:
            page = self._checked(path, file.pages[0], options)
            colour = page.samplesperpixel >= 3 or page.photometric == tifffile.PHOTOMETRIC.PALETTE
            frames = tuple(range(len(file.pages)))
            return ImageInfo("TIFF", page.imagelength, page.imagewidth, 3 if colour else 1, page.bitspersample, frames)

    def frames(self, path: Path, options: ReaderOptions) -> Iterator[DecodedImage]:
        """Page by page."""
        with tifffile.TiffFile(path) as file:
            for number, page in enumerate(file.pages):
                yield self._decoded(self._checked(path, page, options), number)

    def _checked(
        self, path: Path, page: tifffile.TiffPage | tifffile.TiffFrame, options: ReaderOptions
    ) -> tifffile.TiffPage:
        """A page small and plain enough to decode."""
        if not isinstance(page, tifffile.TiffPage):
            page = page.aspage()
        _check_size(path, page.imagelength * page.imagewidth, options)
        ends = (start + count for start, count in zip(page.dataoffsets, page.databytecounts, strict=True))
        if max(ends, default=0) > path.stat().st_size:
            raise UnreadableImage(f"{path}: damaged (cut off); copy it again or leave it out")
        if page.samplesperpixel > 4 or page.imagedepth != 1:
            raise UnreadableImage(
                f"{path}: {page.samplesperpixel} channels and {page.imagedepth} planes in a page; "
                "convert it to grey or RGB pages"
            )
        ycbcr = page.photometric == tifffile.PHOTOMETRIC.YCBCR and page.compression in JPEG_IN_TIFF
        if page.photometric not in PLAIN_PHOTOMETRICS and not ycbcr:
            raise UnreadableImage(
                f"{path}: colours are {getattr(page.photometric, 'name', page.photometric)}; convert it to grey or RGB"
            )
        return page

    def _decoded(self, page: tifffile.TiffPage, number: int) -> DecodedImage:
        pixels = np.asarray(page.asarray())
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None:
            colours = np.moveaxis(np.asarray(page.colormap)[:, pixels], 0, 2)
            return DecodedImage(colours, *value_range(colours), number)
        if pixels.ndim == 3 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
            pixels = np.moveaxis(pixels, 0, 2)
        if pixels.ndim == 3:
            pixels = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., 0]
        low, high = value_range(pixels)
        if pixels.dtype in (np.uint8, np.uint16):  # which may hold 4 or 12 bits
            high = float(2**page.bitspersample - 1)
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            pixels = np.asarray(low + high - pixels.astype(np.float64)).astype(pixels.dtype)
        return DecodedImage(pixels, low, high, number)
