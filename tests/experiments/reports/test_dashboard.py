import json
import math
import re
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import pytest
import torch

from experiments.reports.comparison import read_comparison
from experiments.reports.page.content import recipe_content
from experiments.reports.page.dashboard import other_recipes, reports_match
from experiments.reports.page.images import data_uri
from experiments.reports.page.page import embedded, page
from experiments.reports.page.stage_svg import duration, stage_svg
from experiments.reports.runs import RUNS
from experiments.reports.stages import StageNode, stage_nodes
from experiments.reports.weights import BINS, layer_histograms
from tests.helpers.dashboard import NASTY, known_comparison, write_known
from weightgen.artifacts import Spec, Store
from weightgen.errors import DataError
from weightgen.evaluation.results import read_numbers
from weightgen.files import write_json


def content_of(folder):
    return recipe_content(read_comparison(folder), folder)


def test_a_recipes_content_is_its_tables(tmp_path):
    content = content_of(write_known(tmp_path))
    assert (content["name"], content["concepts"], content["seeds"]) == ("known", 6, [0])
    assert [m["name"] for m in content["methods"]] == ["pix2pix", "e2gan", "generated", "trained"]
    assert [m["name"] for m in content["methods"] if m["ours"]] == ["generated"]
    assert content["groups"] == [("representative", split) for split in ("unseen_combination", "unseen_factor")]
    assert content["metrics"] == ["fid", "kid", "mmd", "perceptual", "l1"]
    (curve,) = [
        c["points"]
        for c in content["curves"]
        if (c["method"], c["metric"], c["split"]) == ("generated", "l1", "unseen_factor")
    ]
    assert [point[:3] for point in curve] == [(0, 0.0, pytest.approx(0.154)), (40, 3.25, pytest.approx(0.044))]
    assert all(low <= value <= high for _, _, value, low, high in curve)
    assert {row["break_even_concepts"] for row in content["cost"]} == {50.0, 0.0}
    assert content["links"][0] == {"title": "report", "href": "../known/report.md"}
    json.dumps(content)


def test_a_concept_called_like_a_number_stays_a_name(tmp_path):
    (tmp_path / "novelty.csv").write_text("concept,method,nearest,l1_start,fid_start\n007,mean,inf,0.5,\n")
    row = {"concept": "007", "method": "mean", "nearest": "inf", "l1_start": 0.5, "fid_start": None}
    assert read_numbers(tmp_path / "novelty.csv") == [row]
    assert read_numbers(tmp_path / "absent.csv") == []
    (tmp_path / "novelty.csv").write_text("concept,l1_start\na,half\n")
    with pytest.raises(DataError, match="l1_start is 'half'"):
        read_numbers(tmp_path / "novelty.csv")


def test_reports_without_rows_and_damaged_neighbours(tmp_path, caplog):
    own = write_known(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "results.csv").write_text((own / "results.csv").read_text().splitlines()[0] + "\n")
    with pytest.raises(DataError, match="make evaluate EXP=empty"):
        read_comparison(empty)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "results.csv").write_text("experiment,base\ndemo\n")
    assert other_recipes(tmp_path, own) == []
    assert "cut is left out" in caplog.text
    assert "empty is left out" in caplog.text
    write_known(tmp_path, "other")
    assert [one.recipe for one in other_recipes(tmp_path, own)] == ["other"]


def test_what_was_written_comes_back(tmp_path):
    written, read = known_comparison(), read_comparison(write_known(tmp_path))
    for name in ("rows", "summary", "races", "wins", "novelty", "cost", "curves", "per_concept"):
        assert getattr(read, name) == getattr(written, name), name


def test_reports_match_when_they_hold_the_very_runs(tmp_path):
    def run(steps: int) -> Spec:
        return Spec("finetune", 1, {"steps": steps})

    write_json(tmp_path / RUNS, [run(1).key, run(2).key])
    assert reports_match([run(2), run(1)], tmp_path)
    assert not reports_match([run(1)], tmp_path)
    assert not reports_match([run(1), run(3)], tmp_path)  # the same names under another budget
    assert not reports_match([run(1), run(2)], tmp_path / "absent")


def test_embedded_data_cannot_leave_its_script_and_comes_back_whole():
    rows = [{"a": NASTY, "b": math.inf}, {"a": "\u2028{{content}}", "b": math.nan}]
    text = embedded({"rows": rows, "one": [{"a": 1}], "list": [1.5, -math.inf, None]})
    assert "<" not in text
    assert "\u2028" not in text
    assert json.loads(text) == {
        "rows": {"columns": ["a", "b"], "rows": [[NASTY, "inf"], ["\u2028{{content}}", None]]},
        "one": [{"a": 1}],
        "list": [1.5, "-inf", None],
    }


def test_the_page_is_one_file_that_may_load_nothing(tmp_path):
    recipe = content_of(write_known(tmp_path)) | {"name": "<known> {{content}}"}
    text = page({"recipes": [recipe]}, made="now")
    assert not re.findall(r"(?:src|href)=[\"'](?!data:|#)", text.split('<script type="application/json"')[0])
    assert "default-src 'none'" in text
    assert "<title>weightgen: &lt;known&gt; {{content}}</title>" in text


def test_images_travel_as_small_webp():
    import base64
    import io

    from PIL import Image

    gradient = torch.arange(256, dtype=torch.uint8).expand(3, 200, 256)
    kind, data = data_uri(gradient).split(",")
    assert kind == "data:image/webp;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert picture.size == (128, 100)
    left, right = picture.convert("L").getpixel((4, 50)), picture.convert("L").getpixel((123, 50))
    assert abs(left - 9) < 6
    assert abs(right - 247) < 6


def test_histograms_count_shares_and_clip_to_the_outer_bins():
    zoo = torch.linspace(-1, 1, 1001).reshape(7, 11, 13)
    made = torch.full((2, 11, 13), 5.0)
    (layer,) = layer_histograms({"up.B": zoo}, {"up.B": made})
    assert (layer["layer"], layer["shape"]) == ("up.B", [11, 13])
    assert layer["range"] == pytest.approx(0.995, abs=2e-3)
    assert (sum(layer["zoo"]), len(layer["zoo"])) == (pytest.approx(1.0, abs=1e-4), BINS)
    assert max(layer["zoo"]) / min(layer["zoo"]) < 1.5
    assert layer["generated"] == [0.0] * (BINS - 1) + [1.0]
    assert layer["generated_rms"] == 5.0
    assert layer_histograms({"up.B": zoo}, {})[0]["generated"] is None


@pytest.fixture
def graph(tmp_path):
    """photos -> pairs a, b -> base -> zoo's LoRA a and b's own -> init -> finetune; fine-tuning also takes the pairs."""
    photos = Spec("photos", 1, {}, label="photos")
    pairs = {c: Spec("pairs", 1, {"c": c}, (photos,), label=f"pairs {c}") for c in "ab"}
    base = Spec("base", 1, {}, (pairs["a"],), label="base all")
    loras = {c: Spec("lora", 1, {"c": c}, (base, pairs[c]), label=f"lora {c}", subject=c) for c in "ab"}
    init = Spec("init", 1, {}, (loras["b"], loras["a"]), label="init")
    last = Spec("finetune", 1, {}, (pairs["b"], init), label="finetune")
    pipeline = SimpleNamespace(store=Store(tmp_path), zoo=["a"], lora=loras.get)
    return pipeline, photos, pairs, last


def test_stage_nodes_leave_out_what_others_imply(graph):
    pipeline, photos, pairs, last = graph
    pipeline.store.ensure(photos, lambda folder: {"seconds": 2.0})
    pipeline.store.ensure(pairs["a"], lambda folder: {})
    (pipeline.store.root / "base" / ".partial").mkdir(parents=True)
    nodes = {node.name: node for node in stage_nodes([pipeline], [last])}
    assert list(nodes) == ["photos", "pairs", "base all", "zoo", "other LoRAs", "init", "finetune"]
    assert {name: node.inputs for name, node in nodes.items()} == {
        "photos": [],
        "pairs": ["photos"],
        "base all": ["pairs"],
        "zoo": ["base all"],
        "other LoRAs": ["base all"],
        "init": ["other LoRAs", "zoo"],
        "finetune": ["init"],
    }
    assert [node.depth for node in nodes.values()] == [0, 1, 2, 3, 3, 4, 5]
    assert [nodes[n].state for n in ("photos", "pairs", "base all")] == ["finished", "started", "missing"]
    assert (nodes["pairs"].finished, nodes["photos"].seconds, nodes["pairs"].seconds) == (1, 2.0, None)
    assert nodes["photos"].artifacts[0]["key"] == photos.key


def test_a_build_that_was_begun_is_started(graph):
    pipeline, photos, _, last = graph

    class KilledError(Exception):
        pass

    def killed(folder):
        raise KilledError

    assert not pipeline.store.started(photos)
    with pytest.raises(KilledError):
        pipeline.store.ensure(photos, killed)
    assert pipeline.store.started(photos)
    assert stage_nodes([pipeline], [last])[0].state == "started"


def test_the_stage_graph_is_one_valid_svg_with_a_box_each_and_escaped_names():
    done = {"label": "x", "key": "0123456789abcdef", "state": "finished", "seconds": 90.0}
    nodes = [
        StageNode("photos", 0, [done]),
        StageNode(NASTY, 1, [done, done | {"state": "missing"}], ["photos"]),
        StageNode("init", 2, [done], [NASTY]),
        StageNode("finetune", 3, [done], ["init", "photos"]),
    ]
    root = ElementTree.fromstring(stage_svg(nodes))
    name = "{http://www.w3.org/2000/svg}"
    boxes = root.findall(f"{name}g")
    assert [box.get("data-part") for box in boxes] == [node.name for node in nodes]
    assert [box.get("class") for box in boxes] == [
        "stage finished",
        "stage started",
        "stage finished",
        "stage finished",
    ]
    assert [t.text for t in boxes[1].findall(f"{name}text")] == [NASTY, "1 of 2", "started, 3 min"]
    arrows = [path.get("d") for path in root.findall(f"{name}path")]
    assert len(arrows) == 4
    left = [float(box.find(f"{name}rect").get("x")) for box in boxes]
    assert left == sorted(left)
    # The long arrow has a lane of its own past both columns, clear of the boxes that stand there.
    (long,) = [path for path in arrows if path.count("H") == 2]
    lanes = {float(y) for y in re.findall(r" ([\d.]+)H", long)}
    for box in boxes[1:3]:
        top, height = (float(box.find(f"{name}rect").get(k)) for k in ("y", "height"))
        assert not any(top <= y <= top + height for y in lanes)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.021, "0.021 s"), (8.0, "8 s"), (119.0, "119 s"), (1500.0, "25 min"), (9000.0, "2.5 h")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text
