"""What eight-bit integers would do to a run's scores: AUC, ranks and speed of OpenVINO in int8 beside float32.

    python benchmarks/int8.py RUN [RUN ...]        (needs pip install 'healthygan[openvino]' nncf)

Calibrated by a hundred healthy and a hundred mixed training images; the test set is scored both ways. Tells whether
`score` should offer int8: only where the AUC moves by less than 0.005.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from healthygan.common.batching import in_batches
from healthygan.common.run_folder import Run
from healthygan.data.cohort import Cohort, Label, Split
from healthygan.data.preprocessing import to_tensor
from healthygan.data.store import ImageStore
from healthygan.inference import engines as export
from healthygan.runs.train import load
from healthygan.stats import metrics
from healthygan.stats.arrays import Floats

CALIBRATION, BATCH = 100, 32


def main() -> None:
    """Print one line a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    print("| run | AUC, float32 | AUC, int8 | rank correlation | processor time, int8 : float32 |")
    print("|---|---:|---:|---:|---:|")
    for path in parser.parse_args().runs:
        print(f"| {path} | {' | '.join(f'{value:.4f}' for value in figures(Run(path)))} |", flush=True)


def figures(run: Run) -> tuple[float, float, float, float]:
    """Both AUCs, Spearman's correlation of the scores, and the ratio of times."""
    import nncf
    import openvino

    detector, config, _ = load(run, "cpu")
    cohort = Cohort.from_manifest(run.cohort)
    stores = {
        split: ImageStore.build([i.path for i in cohort.split(split)], config.preprocessing, title=split)
        for split in (Split.HEALTHY, Split.MIXED, Split.TEST)
    }
    diseased = np.array([image.label is Label.DISEASED for image in cohort.split(Split.TEST)])[stores[Split.TEST].owner]
    random = np.random.default_rng(0)
    seen = [
        to_tensor(store.read(np.array([place]))).numpy()
        for store in (stores[Split.HEALTHY], stores[Split.MIXED])
        for place in random.permutation(len(store))[:CALIBRATION]
    ]
    scorer = detector.scorer()
    if scorer is None:
        raise SystemExit(f"{run.path}: detector {config.detector.name} cannot be exported")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export._write(scorer.eval(), "openvino", folder, config)
        plain = folder / export.FILES["openvino"]
        model = openvino.Core().read_model(str(plain))
        small = nncf.quantize(model, nncf.Dataset(seen), subset_size=len(seen), preset=nncf.QuantizationPreset.MIXED)
        openvino.save_model(small, str(folder / "int8.xml"), compress_to_fp16=False)
        full, took = timed(plain, stores[Split.TEST])
        coarse, less = timed(folder / "int8.xml", stores[Split.TEST])
    ranks = float(spearmanr(full, coarse).statistic)
    return metrics.auc(full, diseased), metrics.auc(coarse, diseased), ranks, less / took


def timed(model: Path, store: ImageStore) -> tuple[Floats, float]:
    """Scores of a store, and the processor time they took."""
    predict = export._predict("openvino", model)
    batches = [to_tensor(store.read(places)) for places in in_batches(len(store), BATCH)]
    predict(batches[0])
    start = time.process_time()
    found = torch.cat([predict(x).score for x in batches])
    return found.double().numpy(), time.process_time() - start


if __name__ == "__main__":
    main()
