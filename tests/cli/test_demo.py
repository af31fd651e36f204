"""The demo from phantoms to report, made small."""

from healthygan.cli import demo as demo_module
from healthygan.cli.demo import demo

SMALL = (
    "detector.width=2",
    "detector.generator_blocks=1",
    "preprocessing.size=32",
    "detector.warm_up=1",
    "training.iterations=4",
    "training.checkpoint_every=2",
    "training.batch_size=4",
    "training.device=cpu",
)


def test_the_demo_measures_images_and_lesions_and_reuses_what_it_made(tmp_path, monkeypatch):
    for name, value in {"HEALTHY": 12, "MIXED": (4, 4), "VALIDATION": (10, 3), "TEST": (4, 4)}.items():
        monkeypatch.setattr(demo_module, name, value)
    found = demo(tmp_path, "chest", 0, SMALL)
    assert found.report.exists()
    assert found.evaluation.performance is not None
    assert found.evaluation.pixel_auroc is not None
    assert len(found.evaluation.scores) == 8
    assert len((found.to_read / "scores.csv").read_text().splitlines()) == 9
    assert demo(tmp_path, "chest", 0, SMALL).evaluation.performance == found.evaluation.performance
