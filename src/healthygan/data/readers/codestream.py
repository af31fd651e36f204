"""What compressed pixels say of their own size, which a file around them may contradict."""

from typing import NamedTuple

JPEG_START = b"\xff\xd8"
JPEG_FRAMES = frozenset((*range(0xC0, 0xD0), 0xF7)) - {0xC4, 0xC8, 0xCC}
"""Markers of a frame header: ITU-T T.81, table B.1, and JPEG-LS's, T.87."""
JPEG_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))
"""Markers that no segment follows."""
JPEG2000_START = b"\xff\x4f\xff\x51"
"""The codestream's first marker and that of its size: ITU-T T.800, A.5.1."""


class Stated(NamedTuple):
    """By the header of a JPEG, JPEG-LS or JPEG 2000 codestream."""

    height: int
    width: int
    samples: int


def stated_size(data: bytes) -> Stated | None:
    """The size that JPEG, JPEG-LS or JPEG 2000 data decode to; nothing where they are neither or damaged."""
    if data[:2] == JPEG_START:
        return _jpeg(data)
    start = data.find(JPEG2000_START, 0, 4096)  # a JP2 file has boxes before it
    return _jpeg2000(data[start:]) if start >= 0 else None


def _jpeg(data: bytes) -> Stated | None:
    place = 2
    while place + 9 < len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF or marker in JPEG_ALONE:  # fill bytes, T.81 B.1.1.2
            place += 1 if marker == 0xFF else 2
            continue
        if marker in JPEG_FRAMES:
            height, width = (int.from_bytes(data[place + n : place + n + 2], "big") for n in (5, 7))
            return Stated(height, width, data[place + 9])
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None


def _jpeg2000(data: bytes) -> Stated | None:
    if len(data) < 42:
        return None
    width, height, left, top = (int.from_bytes(data[n : n + 4], "big") for n in (8, 12, 16, 20))
    return Stated(height - top, width - left, int.from_bytes(data[40:42], "big"))
