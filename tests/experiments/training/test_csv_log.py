"""What is logged is in the file, and a run that goes on adds to what an earlier one left."""

from pathlib import Path

import pytest

from experiments.training.csv_log import CsvLog, read


def test_a_row_is_in_the_file_when_it_is_logged(tmp_path: Path) -> None:
    log = CsvLog(tmp_path / "log" / "metrics.csv")
    for step in (1, 2):
        log.log_metrics({"loss": 0.5 / step}, step)
        assert read(log.path)[-1] == {"loss": 0.5 / step, "step": step}


def test_new_columns_keep_old_rows(tmp_path: Path) -> None:
    log = CsvLog(tmp_path / "metrics.csv")
    log.log_metrics({"loss": 1.0}, 1)
    log.log_metrics({"fid": 30.0, "loss": 0.5}, 2)
    log.log_metrics({"fid": 20.0}, 3)
    rows = [{"loss": 1.0, "step": 1}, {"fid": 30.0, "loss": 0.5, "step": 2}, {"fid": 20.0, "step": 3}]
    assert read(log.path) == rows


def test_a_run_that_goes_on_logs_every_step_once(tmp_path: Path) -> None:
    """Killed after step 40, its last checkpoint at 25: what came after that is logged again."""
    first = CsvLog(tmp_path / "metrics.csv")
    for step in (10, 20, 30, 40):
        first.log_metrics({"loss": float(step)}, step)
    again = CsvLog(tmp_path / "metrics.csv")
    assert [row["step"] for row in read(again.path)] == [10, 20, 30, 40]  # until it logs, nothing is lost
    for step in (30, 40, 50):
        again.log_metrics({"loss": step + 0.5, "l1": 0.1}, step)
    assert [row["step"] for row in read(again.path)] == [10, 20, 30, 40, 50]
    assert [row["loss"] for row in read(again.path)] == [10, 20, 30.5, 40.5, 50.5]


@pytest.mark.parametrize("cut", [1, 4, 9])
def test_a_line_that_was_cut_short_is_left_out(tmp_path: Path, cut: int) -> None:
    log = CsvLog(tmp_path / "metrics.csv")
    log.log_metrics({"loss": 0.25}, 1)
    log.log_metrics({"loss": 0.123456}, 2)
    log.path.write_bytes(log.path.read_bytes()[:-cut])
    assert read(log.path) == [{"loss": 0.25, "step": 1}]
    CsvLog(tmp_path / "metrics.csv").log_metrics({"loss": 0.5}, 2)
    assert read(log.path) == [{"loss": 0.25, "step": 1}, {"loss": 0.5, "step": 2}]


@pytest.mark.parametrize("garbage", ["20,zebra,3\n", "20,\0\0,\0\n", ",,\n", "nothing\n", "9" * 400 + "," + "inf,1\n"])
def test_lines_that_are_no_rows_are_left_out_with_a_warning(tmp_path, caplog, garbage) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,loss,other\n10,1.5,2\n" + garbage + "30,0.5,4\n")
    with caplog.at_level("WARNING"):
        rows = read(path)
    assert [row["step"] for row in rows if row["step"] in (10, 30)] == [10, 30]
    assert len(rows) == 2
    assert "1 damaged lines are left out" in caplog.text
