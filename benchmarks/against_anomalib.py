"""PaDiM and PatchCore against anomalib's: the same backbone, weights, layers, channels, images and coreset share.

    python benchmarks/against_anomalib.py COHORT --anomalib-python VENV/bin/python [--size 128] [--coreset 0.01]

anomalib is no dependency: make a virtual environment with it and name its Python. Each detector is measured in a
process of its own, ours and theirs in turn, on images that were decoded before. Theirs are its bare torch models,
without Lightning's loops. Times are the processor's; memory is the peak while fitting and predicting, above what the
process held before.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BATCH = 32
LEVELS = {"padim": (1, 2, 3), "patchcore": (2, 3)}
NAMES = {1: "blocks.1", 2: "blocks.2", 3: "blocks.4"}
"""timm's modules behind the feature levels of tf_efficientnet_lite0."""
LARGEST_GAP = 0.015


def main() -> int:
    """Print the table; 1 if an AUROC differs by more than allowed, or ours is slower or hungrier."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--anomalib-python", type=Path, required=True)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--coreset", type=float, default=0.01)
    parser.add_argument("--channels", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=2, help="of either side, in turn; the faster one counts")
    parser.add_argument("--side", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    parser.add_argument("--detector", choices=tuple(LEVELS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps((ours if options.side == "ours" else theirs)(options)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        export(options, Path(folder))
        rows = [compare(detector, options, folder) for detector in LEVELS]
    print("| detector | AUROC ours, anomalib | fit, s | predict, s | peak memory, MB | within bounds |")
    print("|---|---|---|---|---|---|")
    print("\n".join(row for row, _ in rows))
    return int(not all(good for _, good in rows))


def compare(detector: str, options: argparse.Namespace, folder: str) -> tuple[str, bool]:
    """One line of the table, and whether it is as it should be."""
    found: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
    for _ in range(options.repeats):
        for side, results in found.items():
            python = str(options.anomalib_python) if side == "theirs" else sys.executable
            command = [python, __file__, folder, "--anomalib-python", python, "--side", side, "--detector", detector]
            command += ["--size", str(options.size), "--coreset", str(options.coreset)]
            command += ["--channels", str(options.channels)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            results.append(json.loads(done.stdout.splitlines()[-1]))
    best = {
        side: {name: min(result[name] for result in results) for name in results[0]} for side, results in found.items()
    }
    us, them = best["ours"], best["theirs"]
    good = abs(us["auc"] - them["auc"]) <= LARGEST_GAP and all(
        us[name] <= them[name] for name in ("fit", "predict", "memory")
    )
    cells = [f"{us['auc']:.4f}, {them['auc']:.4f}"]
    for name, digits in (("fit", 1), ("predict", 1), ("memory", 0)):
        ratio = us[name] / them[name]
        cells.append(f"{us[name]:.{digits}f}, {them[name]:.{digits}f} (x {ratio:.2f})")
    return f"| {detector} | {' | '.join(cells)} | {'yes' if good else 'no'} |", good


def export(options: argparse.Namespace, folder: Path) -> None:
    """Decoded images, labels, weights and PaDiM's channels, for both sides."""
    import numpy as np
    import torch

    from healthygan.data.cohort import Label, Split, load_cohort
    from healthygan.data.preprocessing import Preprocessing
    from healthygan.data.store import ImageStore
    from healthygan.detectors.padim import PaDiM, PaDiMConfig
    from healthygan.nn.backbones import embedded_state

    cohort = load_cohort(options.cohort)
    shape = Preprocessing(size=options.size, channels=1)
    places = {}
    for split in (Split.HEALTHY, Split.TEST):
        store = ImageStore.build(cohort.paths(split), shape, title=str(split))
        np.save(folder / f"{split}.npy", store.read(np.arange(len(store))))
        places[str(split)] = [str(path) for path in store.paths]
        if split is Split.TEST:
            truth = [cohort.split(split)[owner].label is Label.DISEASED for owner in store.owner]
            np.save(folder / "labels.npy", np.array(truth))
    (folder / "paths.json").write_text(json.dumps(places))
    torch.save(embedded_state(), folder / "weights.pt")
    detector = PaDiM(PaDiMConfig(channels=options.channels), 1, options.size, 0)
    np.save(folder / "kept.npy", detector.kept.numpy())


def ours(options: argparse.Namespace) -> dict[str, float]:
    """One of ours, fitted through the interface that every detector has."""
    import numpy as np
    import torch
    from lightning import Fabric

    from healthygan.common.run_folder import Run
    from healthygan.data.preprocessing import Preprocessing, to_tensor
    from healthygan.data.store import ImageStore
    from healthygan.detectors.padim import PaDiM, PaDiMConfig
    from healthygan.detectors.patchcore import PatchCore, PatchCoreConfig
    from healthygan.training.config import TrainingConfig
    from healthygan.training.loop import Training

    folder = options.cohort
    shape = Preprocessing(size=options.size, channels=1)
    places = json.loads((folder / "paths.json").read_text())
    healthy = ImageStore.build([Path(path) for path in places["healthy"]], shape, title="healthy set")
    test = to_tensor(np.load(folder / "test.npy"))
    detector: Any = (
        PaDiM(PaDiMConfig(channels=options.channels), 1, options.size, 0)
        if options.detector == "padim"
        else PatchCore(PatchCoreConfig(coreset=options.coreset), 1, options.size, 0)
    )
    with tempfile.TemporaryDirectory() as run:
        training = Training(TrainingConfig(device="cpu"), Run(Path(run)), Fabric(accelerator="cpu", devices=1))
        return measured(
            lambda: detector.fit(healthy, healthy, training),
            lambda: torch.cat([detector.predict(x).score for x in test.split(BATCH)]),
            folder,
        )


def theirs(options: argparse.Namespace) -> dict[str, float]:
    """One of anomalib's bare models."""
    import numpy as np
    import torch
    from anomalib.models.image.padim.torch_model import PadimModel
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    folder = options.cohort

    def images(name: str) -> torch.Tensor:
        return torch.from_numpy(np.load(folder / f"{name}.npy").astype(np.float32)).mul_(2 / 65535).sub_(1)

    healthy, test = images("healthy"), images("test")
    layers = [NAMES[level] for level in LEVELS[options.detector]]
    shared: dict[str, Any] = {"backbone": "tf_efficientnet_lite0", "layers": layers, "pre_trained": False}
    torch.manual_seed(0)
    model: Any
    if options.detector == "padim":
        model = PadimModel(**shared, n_features=options.channels)
        model.idx = torch.from_numpy(np.load(folder / "kept.npy"))
    else:
        model = PatchcoreModel(**shared)
    network = model.feature_extractor.feature_extractor
    weights = torch.load(folder / "weights.pt", weights_only=True)
    absent = network.load_state_dict(weights, strict=False).missing_keys
    assert not absent, f"weights that anomalib's backbone lacks: {absent}"

    @torch.no_grad()
    def fit() -> None:
        model.train()
        for x in healthy.split(BATCH):
            model(x.expand(-1, 3, -1, -1))
        model.fit() if options.detector == "padim" else model.subsample_embedding(options.coreset)
        model.eval()

    @torch.no_grad()
    def predict() -> torch.Tensor:
        return torch.cat([model(x.expand(-1, 3, -1, -1)).pred_score.flatten() for x in test.split(BATCH)])

    return measured(fit, predict, folder)


def measured(fit: Any, predict: Any, folder: Path) -> dict[str, float]:
    """Seconds of processor time, AUROC and memory above what was held before."""
    import numpy as np
    from sklearn.metrics import roc_auc_score

    before = peak_mb()
    start = time.process_time()
    fit()
    fitted = time.process_time()
    scores = predict()
    done = time.process_time()
    area = float(roc_auc_score(np.load(folder / "labels.npy"), scores.numpy()))
    return {"auc": area, "fit": fitted - start, "predict": done - fitted, "memory": peak_mb() - before}


def peak_mb() -> float:
    """Greatest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
