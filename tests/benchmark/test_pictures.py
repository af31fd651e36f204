"""A benchmark's pictures show every method."""

import io

from PIL import Image

from fixtures.benchmarks import results
from healthygan.benchmark.pictures import maps_picture, roc_picture
from healthygan.benchmark.results import Results


def test_a_method_more_is_a_column_more_and_a_curve_more(benchmarked: Results) -> None:
    one = results(benchmarked.rows[0])
    assert Image.open(io.BytesIO(maps_picture(benchmarked))).width > Image.open(io.BytesIO(maps_picture(one))).width
    assert roc_picture(benchmarked) != roc_picture(one)
