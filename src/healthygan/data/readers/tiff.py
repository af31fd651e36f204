"""TIFF, page by page."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile

from healthygan.common.errors import UnreadableImage
from healthygan.data.readers.base import (
    DecodedImage,
    ImageInfo,
    ReaderOptions,
    check_memory,
    check_size,
    value_range,
)
from healthygan.data.readers.codestream import stated_size

PLAIN_PHOTOMETRICS = (
    tifffile.PHOTOMETRIC.MINISWHITE,
    tifffile.PHOTOMETRIC.MINISBLACK,
    tifffile.PHOTOMETRIC.RGB,
    tifffile.PHOTOMETRIC.PALETTE,
)
JPEG_IN_TIFF = (tifffile.COMPRESSION.JPEG, tifffile.COMPRESSION.OJPEG)
"""Their decoder turns YCbCr into RGB."""
OWN_SIZE = frozenset({6, 7, 33003, 33004, 33005, 33007, 34712, 34892})
"""Compressions whose data tell their own size, JPEG and JPEG 2000, which is compared with the page's."""
BOUNDED = frozenset({1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 50000})
"""Compressions that decode to no more than the page announces: none, CCITT, LZW, deflate, packed bits, LZMA, Zstd."""
COPIES = 3
"""Of a page while it is decoded: its segments, the whole, and as its values are brought in order."""
INVERTED_BYTES = 16
"""More a sample where white is 0."""
PALETTE_BYTES = 6


class TiffReader:
    """TIFF with the common compressions, grey, RGB or palette; pages are frames."""

    def probe(self, path: Path, options: ReaderOptions) -> ImageInfo:
        """The first page's header and the number of pages."""
        with tifffile.TiffFile(path) as file:
            page = self._checked(path, file.pages[0], options)
            colour = page.samplesperpixel >= 3 or page.photometric == tifffile.PHOTOMETRIC.PALETTE
            frames = tuple(range(len(file.pages)))
            height, width, depth = page.imagelength, page.imagewidth, page.bitspersample
            return ImageInfo("TIFF", height, width, 3 if colour else 1, depth, frames, _memory(page))

    def frames(self, path: Path, options: ReaderOptions) -> Iterator[DecodedImage]:
        """Page by page."""
        size, used = path.stat().st_size, 0
        with tifffile.TiffFile(path) as file:
            for number, page in enumerate(file.pages):
                page = self._checked(path, page, options)
                used += sum(page.databytecounts)
                if used > size:
                    raise UnreadableImage(f"{path}: pages share their pixels; save each page once")
                _refuse_contradiction(path, file, page)
                yield self._decoded(page, number)

    def _checked(
        self, path: Path, page: tifffile.TiffPage | tifffile.TiffFrame, options: ReaderOptions
    ) -> tifffile.TiffPage:
        """A page small and plain enough to decode."""
        if not isinstance(page, tifffile.TiffPage):
            page = page.aspage()
        if page.imagelength < 1 or page.imagewidth < 1 or page.samplesperpixel < 1:
            raise UnreadableImage(
                f"{path}: damaged (a page of {page.imagewidth} x {page.imagelength} pixels); copy it again "
                "or leave it out"
            )
        check_size(path, page.imagelength * page.imagewidth, options)
        check_memory(path, _memory(page), options)
        ends = (start + count for start, count in zip(page.dataoffsets, page.databytecounts, strict=True))
        if max(ends, default=0) > path.stat().st_size:
            raise UnreadableImage(f"{path}: damaged (cut off); copy it again or leave it out")
        if page.compression not in OWN_SIZE | BOUNDED:
            raise UnreadableImage(
                f"{path}: its compression is {getattr(page.compression, 'name', page.compression)}; "
                "convert it to deflate, LZW or JPEG"
            )
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


def _memory(page: tifffile.TiffPage) -> int:
    """Bytes that decoding a page takes, about. A tile or strip may claim to be larger than its page."""
    samples = page.imagelength * page.imagewidth * page.samplesperpixel
    segment = page.tilelength * page.tilewidth if page.is_tiled else min(page.rowsperstrip, page.imagelength)
    segment *= page.samplesperpixel * (1 if page.is_tiled else page.imagewidth)
    a_sample = -(-page.bitspersample // 8)
    memory = COPIES * max(samples, segment) * a_sample + sum(page.databytecounts)
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        memory += INVERTED_BYTES * samples
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
        memory += PALETTE_BYTES * samples
    return int(memory)


def _refuse_contradiction(path: Path, file: tifffile.TiffFile, page: tifffile.TiffPage) -> None:
    """Before decoding: compressed pixels may claim any size, whatever the page says."""
    if page.compression not in OWN_SIZE:
        return
    height, width = (page.tilelength, page.tilewidth) if page.is_tiled else (page.imagelength, page.imagewidth)
    for data, _ in file.filehandle.read_segments(page.dataoffsets, page.databytecounts):
        stated = stated_size(data) if isinstance(data, bytes) else None
        if stated is not None and (stated.height > height or stated.width > width or stated.samples > 4):
            raise UnreadableImage(
                f"{path}: damaged (compressed pixels are {stated.width} x {stated.height}, the page has place for "
                f"{width} x {height}); copy it again or leave it out"
            )
