"""What a multirun ends with, on jobs whose numbers are known."""

import json

from experiments.sweeps.table import job_table


def job(folder, number, overrides, scores, **facts):
    artifacts = []
    for i, score in enumerate(scores):
        path = folder / f"{number}-{i}"
        path.mkdir()
        (path / "metrics.json").write_text(json.dumps(score | {"method": "mean", "diverged": False}))
        artifacts.append({"path": str(path)})
    about = {"number": number, "overrides": ["experiment=smoke", *overrides], "artifacts": artifacts}
    return about | {"status": "done", "value": None} | facts


def test_a_row_per_job_with_the_means_of_its_artifacts(tmp_path):
    two = [{"fid": 10.0, "l1": 0.1}, {"fid": 1000.0, "l1": 0.3}]
    jobs = [job(tmp_path, 0, ["init=mean", "seed=0"], two), job(tmp_path, 1, ["init=e2gan", "seed=0"], two[:1])]
    jobs += [job(tmp_path, 2, ["init=ridge", "seed=0"], [], status="failed")]
    table, asked = job_table(jobs)
    assert asked == ["init"]  # what all jobs share is no column
    assert list(table[0]) == ["job", "init", "status", "artifacts", "fid", "l1"]
    assert [row["init"] for row in table] == ["mean", "e2gan", "ridge"]
    assert abs(table[0]["fid"] - 100.0) < 1e-9  # geometric
    assert abs(table[0]["l1"] - 0.2) < 1e-12
    assert abs(table[1]["fid"] - 10.0) < 1e-9
    assert table[1]["artifacts"] == 1
    assert (table[2]["status"], table[2]["fid"]) == ("failed", None)


def test_what_a_job_returns_is_in_its_row(tmp_path):
    jobs = [job(tmp_path, 0, ["+x=1"], [], value=0.25), job(tmp_path, 1, ["+x=2"], [], value={"l1": 0.5})]
    table, asked = job_table(jobs)
    assert asked == ["x"]
    assert [(row["value"], row["l1"]) for row in table] == [(0.25, None), (None, 0.5)]


def test_a_sweep_leaves_its_table_and_figure_and_says_where(smoke, tmp_path):
    options = ["init=e2gan,mean", "logger=csv", "strategy.workers=1", f"paths.reports={tmp_path}"]
    printed = smoke("sweep", "-m", *options).stdout
    (table,) = (tmp_path / "smoke" / "sweeps").glob("*.csv")
    assert f"table: {table}" in printed
    assert f"figure: {table.with_suffix('.png')}" in printed
    assert table.with_suffix(".png").stat().st_size > 1000
    lines = table.read_text().splitlines()
    assert lines[0].startswith("job,init,status,artifacts,")
    assert [line.split(",")[1:3] for line in lines[1:]] == [["e2gan", "done"], ["mean", "done"]]
