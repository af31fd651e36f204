"""What training leaves to look at."""

from healthygan.common.run_folder import Run
from healthygan.training.logger import TrainingLog


def test_a_later_stage_s_losses_get_their_own_columns(tmp_path):
    run = Run(tmp_path)
    with TrainingLog(run, 0, enabled=True) as log:
        log.write(1, {"critic": 0.5})
        log.write(2, {"critic": 0.25, "encoder": 2.0})
        log.write(3, {"encoder": 1.0})
    assert run.log.read_text().splitlines() == ["iteration,critic,encoder", "1,0.5,", "2,0.25,2.0", "3,,1.0"]
    with TrainingLog(run, 2, enabled=True) as log:
        log.write(3, {"encoder": 1.5})
    assert run.log.read_text().splitlines()[-1] == "3,,1.5"
