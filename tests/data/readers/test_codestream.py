"""What JPEG, JPEG-LS and JPEG 2000 data say of their own size."""

import imagecodecs
import numpy as np
import pytest

from healthygan.data.readers.codestream import stated_size

GREY = np.zeros((5, 7), np.uint8)
COLOUR = np.zeros((5, 7, 3), np.uint8)
ENCODINGS = {
    "jpeg": imagecodecs.jpeg_encode,
    "jpeg-ls": imagecodecs.jpegls_encode,
    "jpeg 2000 in a box": imagecodecs.jpeg2k_encode,
    "jpeg 2000 alone": lambda pixels: imagecodecs.jpeg2k_encode(pixels, codecformat="j2k"),
    "lossless jpeg": lambda pixels: imagecodecs.jpeg_encode(pixels, lossless=True),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(("pixels", "samples"), [(GREY, 1), (COLOUR, 3)])
def test_size_is_that_of_the_pixels(encoding: str, pixels: np.ndarray, samples: int) -> None:
    assert stated_size(bytes(ENCODINGS[encoding](pixels))) == (5, 7, samples)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xe0\0\x10JFIF", b"\xff\x4f\xff\x51", b"no pixels"])
def test_nothing_is_said_of_other_or_cut_off_data(data: bytes) -> None:
    assert stated_size(data) is None


def test_fill_bytes_before_a_marker_are_passed_over() -> None:
    jpeg = bytes(imagecodecs.jpeg_encode(GREY))
    assert stated_size(jpeg[:2] + b"\xff\xff" + jpeg[2:]) == (5, 7, 1)
