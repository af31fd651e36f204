"""One file a format: raster, TIFF, DICOM, NIfTI; ``reading`` picks by content, not by name.

Each reader refuses what it cannot read rightly, before decoding where the header tells.
"""

from healthygan.data.readers.base import DecodedImage, ImageInfo, ReaderOptions
from healthygan.data.readers.reading import probe, read_frames

__all__ = ["DecodedImage", "ImageInfo", "ReaderOptions", "probe", "read_frames"]
