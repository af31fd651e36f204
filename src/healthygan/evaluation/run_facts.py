"""What a report tells of the run itself: its settings, and what training logged."""

import csv
import math

from healthygan.common.errors import InputError
from healthygan.common.run_folder import Decision, Run
from healthygan.evaluation.result import TrainingSeries
from healthygan.runs.config import Config
from healthygan.runs.mixed_report import pile_report


def settings_of(run: Run, config: Config, decision: Decision) -> dict[str, str]:
    """Every setting by name, with the choice and the notes of the run before them."""
    shown = {"run": run.path.name, "chosen iteration": f"{decision.iteration:,}", "chosen by": decision.rule}
    notes = report.load_notes() if (report := pile_report(run)) else []
    shown |= {f"note {number}": note for number, note in enumerate(notes, start=1)}
    for section, fields in config.model_dump(mode="json").items():
        shown |= {f"{section}.{name}": str(value) for name, value in fields.items()}
    return shown


def training_series(run: Run) -> TrainingSeries | None:
    """The losses in ``log.csv``; none for a run that logged nothing.

    Raises:
        InputError: the file is damaged.
    """
    if not run.log.exists():
        return None
    try:
        with run.log.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if not rows:
            return None
        names = [name for name in rows[0] if name != "iteration" and not name.endswith("_gradient")]
        series = {name: [float(row[name]) if row.get(name) else math.nan for row in rows] for name in names}
        return TrainingSeries([int(row["iteration"]) for row in rows], series)
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise InputError(
            f"{run.log}: damaged ({error}); copy it again, or remove it for a report without curves"
        ) from error
