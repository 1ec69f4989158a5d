"""What W&B is told: runs that overlay, lineage, and the saved report."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb
from omegaconf import OmegaConf

from experiments.reports import wandb_report as report
from experiments.reports.comparison import Built
from experiments.reports.wandb_runs import curve_charts, log_files, publish_comparison, table, use
from experiments.training.wandb_run import SECONDS
from tests.helpers.dashboard import known_comparison
from weightgen.artifacts import Spec
from weightgen.errors import WeightgenError

SPLITS = ("unseen_combination", "unseen_factor")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of wandb-workspaces, about pydantic


def records(run: Path) -> list[dict]:
    """What an offline run holds, by W&B's own reader."""
    command = [Path(sys.executable).with_name("wandb"), "leet", "inspect", "--json", run]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in answer.splitlines() if line.startswith("{")]


def runs_called(folder: Path, name: str) -> list[Path]:
    """Offline runs whose log has `name` in it, oldest first."""
    logs = sorted((folder / "wandb").glob("offline-run-*/*.wandb"))
    return [log.parent for log in logs if name.encode() in log.read_bytes()]


def of(rows: list[dict], kind: str) -> list[dict]:
    return [row[kind] for row in rows if row["type"] == kind]


def test_runs_of_all_methods_share_names_and_axis_and_say_where_they_come_from(smoke) -> None:
    methods = ("pix2pix", "e2gan", "generated")
    for rows in [records(runs_called(smoke.folder, f"finetune/{method}/")[0]) for method in methods]:
        (run,) = of(rows, "run")
        config = run["config"]["update"]
        assert (run["run_group"], config["recipe"]) == ("smoke", "smoke")
        assert set(run["tags"]) == {config["method"], config["concept"], config["split"]}
        assert {source["stage"] for source in config["inputs"]} <= {"pairs", "photos", "text", "init", "base"}
        assert len(config["key"]) == 20
        globs = {m.get("glob_name"): m.get("step_metric") for m in of(rows, "metric")}
        assert globs["eval/*"] == SECONDS
        points = [row["item"] for row in of(rows, "history") if "eval/fid" in row["item"]]
        assert points
        assert all({"eval/l1", "eval/fid_efficientnet_lite0", SECONDS} <= point.keys() for point in points)


def test_the_comparison_holds_tables_images_weights_and_artifacts(smoke) -> None:
    kinds = ("zoo", "generator", "comparison")
    runs = {kind: records(runs_called(smoke.folder, f"{kind}/smoke")[0]) for kind in kinds}
    keys = {"/".join(name.split("/")[:2]) for row in of(runs["comparison"], "history") for name in row["item"]}
    for name in (
        "tables/summary",
        "tables/concepts",
        "tables/wins",
        "images/generated",
        "images/target",
        "figures/grid",
    ):
        assert any(key.split(".")[0] == name for key in keys), name
    text = json.dumps(of(runs["comparison"], "history"))
    assert "curves/representative/unseen_factor/fid" in text
    assert "step 0" in text  # captions
    assert "stages" in {key.split(".")[0] for key in keys}
    assert any(key.startswith("weights/zoo") for row in of(runs["zoo"], "history") for key in row["item"])
    (zoo,) = of(runs["zoo"], "artifact")
    assert zoo["type"] == "zoo"
    assert of(runs["zoo"], "run")[0]["config"]["update"]["key"] in zoo["aliases"]
    (generator,) = of(runs["generator"], "artifact")
    files = {Path(entry["path"]).name for entry in generator["manifest"]["contents"]}
    assert {"base.safetensors", "denoiser.safetensors", "generator.json"} <= files


def test_lineage_is_told_online_and_left_out_offline(tmp_path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"1234")
    used, logged = [], []

    def log_artifact(artifact, aliases):
        logged.append((artifact.name, artifact.type, aliases, list(artifact.manifest.entries)))
        return SimpleNamespace(wait=lambda: None)

    online = SimpleNamespace(offline=False, use_artifact=used.append, log_artifact=log_artifact)
    spec = Spec("blocks", 1, {}, (Spec("lora", 1, {}, label="lora a"),), label="blocks")
    name = log_files(online, "zoo-demo", "zoo", Built(spec, tmp_path))
    assert (name, logged) == (f"zoo-demo:{spec.key}", [("zoo-demo", "zoo", ["latest", spec.key], ["weights.bin"])])
    use(online, [name])
    assert used == [name]
    use(SimpleNamespace(offline=True), [name])  # offline W&B knows no use_artifact


def test_the_same_results_are_published_once(tmp_path) -> None:
    off = OmegaConf.create({"logger": {"wandb": False, "mode": "offline"}})
    assert not publish_comparison(known_comparison(), off, tmp_path)
    (tmp_path / "results.csv").write_text("")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # sha256 of nothing
    (tmp_path / ".wandb.json").write_text(json.dumps({"results": empty, "project": "p", "mode": "offline"}))
    cfg = OmegaConf.create({"recipe": "x", "logger": {"wandb": True, "mode": "offline", "project": "p"}})
    assert not publish_comparison(known_comparison(), cfg, tmp_path)


def test_tables_and_charts() -> None:
    assert table([]) is None
    assert table([{"a": 1, "b": "x"}, {"a": None, "b": "y"}]).data == [[1, "x"], [None, "y"]]
    charts = curve_charts(known_comparison())
    names = {f"curves/representative/{s}/{m}" for s in SPLITS for m in ("fid", "l1", "kid", "mmd", "perceptual")}
    assert set(charts) == names
    rows = charts["curves/representative/unseen_factor/l1"].table.data
    label = "E2GAN (base, LoRA at zero)"
    assert [row for row in rows if row[1] == label] == [
        [0.0, label, pytest.approx(0.33)],
        [3.0, label, pytest.approx(0.055)],
    ]
    assert not [row for row in rows if "trained LoRA" in row[1]]  # a level is no line


@pytest.fixture
def online():
    return OmegaConf.create({"recipe": "demo", "logger": {"entity": None, "project": "p"}})


def test_without_the_package_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    with pytest.raises(WeightgenError, match=r"pip install 'weightgen\[dashboard\]'"):
        report.connect()


def test_without_a_login_the_command_is_named(monkeypatch) -> None:
    pytest.importorskip("wandb_workspaces", reason="the extra `dashboard` is missing: make setup")

    def refuse():
        raise wandb.errors.UsageError("No API key configured. Use `wandb login` to log in.\nmore")

    monkeypatch.setattr(wandb, "Api", refuse)
    with pytest.raises(WeightgenError, match="run `wandb login`") as caught:
        report.connect()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("saved", [[], [SimpleNamespace(display_name="weightgen: demo", id="old-id")]])
def test_a_report_is_created_or_brought_up_to_date(monkeypatch, online, saved) -> None:
    interface = pytest.importorskip("wandb_workspaces.reports.v2.interface", reason="make setup")
    sent = []

    class Api:
        default_entity = "me"
        client = SimpleNamespace(app_url="https://wandb.example")

        def reports(self, path):
            assert path == "me/p"
            return [SimpleNamespace(display_name="other", id="x"), *saved]

        def projects(self, entity):
            return [SimpleNamespace(name="p")]

    def execute(api, query, variables):
        if "spec" not in variables:
            return {"project": {"internalId": "1"}}
        sent.append(variables)
        project = {"name": "p", "entityName": "me"}
        kept = {"id": variables["id"] or "new-id", "name": "n", "displayName": variables["displayName"]}
        kept |= {"description": "", "project": project, "spec": variables["spec"]}
        kept |= {"updatedAt": "2026-01-01T00:00:00", "createdAt": "2026-01-01T00:00:00"}
        return {"upsertView": {"view": kept}}

    monkeypatch.setattr(wandb, "Api", Api)
    monkeypatch.setattr(interface, "execute_graphql", execute)
    monkeypatch.setattr(interface, "get_app_url", lambda api: "https://wandb.example", raising=False)
    address = report.save_report(online, known_comparison("demo"))
    (variables,) = sent
    assert variables["id"] == ("old-id" if saved else None)
    assert (variables["entityName"], variables["projectName"]) == ("me", "p")
    assert address.startswith("https://wandb.example/me/p/reports/weightgen")
    spec = variables["spec"]
    for part in ('"eval/fid"', '"eval/l1"', SECONDS, "unseen_factor", "tables/summary", "images/generated", "stages"):
        assert part in spec or part.replace('"', "") in spec, part


def test_a_refusal_names_what_to_check(monkeypatch, online) -> None:
    class Api:
        default_entity = "me"

        def reports(self, path):
            raise ValueError("project not found\nmore")

    monkeypatch.setattr(report, "connect", lambda: (None, Api()))
    with pytest.raises(WeightgenError, match=r"me/p was not saved \(project not found\): check logger.entity"):
        report.save_report(online, known_comparison("demo"))
