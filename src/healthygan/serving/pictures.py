"""Pixels of a case, named by its number alone."""

import json
import os
from pathlib import Path

import numpy as np
from fastapi import APIRouter
from PIL import Image
from sqlalchemy import select
from starlette.responses import PlainTextResponse, Response

from healthygan.common.errors import InputError, UnreadableImage
from healthygan.common.score_names import map_stem
from healthygan.serving import heat
from healthygan.serving.database import CASES
from healthygan.serving.desk import Desk
from healthygan.serving.pixels import THUMBNAIL, picture, samples, thumbnail
from healthygan.serving.placement import place_of_map

NOT_THERE = PlainTextResponse("no such picture", 404)


def pictures(desk: Desk) -> APIRouter:
    """Routes."""
    router = APIRouter(prefix="/case/{case_id}")

    @router.get("/pixels")
    def pixels(case_id: int) -> Response:
        """Samples, row by row; the header X-Image tells what they mean."""
        if (named := _file(desk, case_id)) is None:
            return NOT_THERE
        try:
            sent = samples(desk.decoder.frame(desk.folder.locate(named[0]), named[1]))
        except UnreadableImage:
            return PlainTextResponse("the image's file cannot be read", 404)
        told = {name: value for name, value in vars(sent).items() if name != "data"}
        return Response(sent.data, media_type="application/octet-stream", headers={"x-image": json.dumps(told)})

    @router.get("/overlay")
    def overlay(case_id: int) -> Response:
        """The map alone, transparent where nothing was changed; the header X-Place tells where on the image it lies."""
        if (named := _file(desk, case_id)) is None or desk.folder.framing is None:
            return NOT_THERE
        png = _heat(desk, *named)
        if png is None:
            return NOT_THERE
        try:
            place = place_of_map(desk.decoder.frame(desk.folder.locate(named[0]), named[1]), desk.folder.framing)
        except UnreadableImage:
            return NOT_THERE
        return Response(png, media_type="image/png", headers={"x-place": json.dumps(place._asdict())})

    @router.get("/thumbnail")
    def small(case_id: int) -> Response:
        """The overlay where there is one, else the image."""
        if (named := _file(desk, case_id)) is None:
            return NOT_THERE
        made = _map_file(desk, *named, ".png")
        try:
            if made.is_file():
                with Image.open(made) as shown:
                    return Response(thumbnail(shown), media_type="image/jpeg")
            image = desk.decoder.frame(desk.folder.locate(named[0]), named[1], sufficient=2 * THUMBNAIL)
            return Response(thumbnail(picture(image)), media_type="image/jpeg")
        except (InputError, OSError):
            return NOT_THERE

    return router


def _file(desk: Desk, case_id: int) -> tuple[Path, int] | None:
    """The file and frame of a case, from the table."""
    with desk.database.read() as connection:
        row = connection.execute(select(CASES.c.path, CASES.c.frame).where(CASES.c.id == case_id)).first()
    return None if row is None else (Path(os.fsdecode(row.path)), int(row.frame))


def _map_file(desk: Desk, path: Path, frame: int, suffix: str) -> Path:
    return desk.folder.maps / (map_stem(path, frame) + suffix)


def _heat(desk: Desk, path: Path, frame: int) -> bytes | None:
    array, made = (_map_file(desk, path, frame, suffix) for suffix in (".npy", ".png"))
    try:
        if array.is_file() and desk.folder.map_top:
            return heat.from_map(np.load(array, allow_pickle=False), desk.folder.map_top)
        if made.is_file():
            with Image.open(made) as shown:
                return heat.from_overlay(np.asarray(shown.convert("RGB")))
    except (OSError, ValueError):
        pass
    return None
