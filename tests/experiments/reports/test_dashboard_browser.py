"""The page in a real headless Chromium, opened from disk with the network off."""

import csv
from dataclasses import replace

import pytest
import torch

from experiments.reports.comparison import read_comparison
from experiments.reports.page.content import recipe_content
from experiments.reports.page.images import data_uri
from experiments.reports.page.page import page
from experiments.reports.page.stage_svg import stage_svg
from experiments.reports.stages import StageNode
from tests.helpers.dashboard import FIDS, NASTY, PROMPTS, write_known
from weightgen.evaluation.methods import label
from weightgen.files import write_text


@pytest.fixture
def visit(browser):
    """Opens a file with the network off; fails on any error of the page, or request to anywhere but the disk."""
    faults, contexts = [], []

    def visit(path, width=1280, scheme="light"):
        viewport = {"width": width, "height": 900}
        contexts.append(browser.new_context(viewport=viewport, color_scheme=scheme, offline=True))
        tab = contexts[-1].new_page()
        tab.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.on("dialog", lambda dialog: faults.append("a dialog opened"))
        tab.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else faults.append(r.url))
        tab.goto(path.as_uri())
        return tab

    yield visit
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """index.html of the known comparison, beside a second recipe's tables."""
    reports = tmp_path_factory.mktemp("reports")
    folders = write_known(reports), write_known(reports, "other")
    artifact = {"label": "photos", "key": "0123456789abcdef0123", "state": "finished", "seconds": None}
    missing = {"label": NASTY, "key": "f" * 20, "state": "missing", "seconds": None}
    nodes = (
        StageNode("photos", 0, [artifact]),
        StageNode("pairs", 1, [artifact | {"seconds": 2.5}, missing], ["photos"]),
    )
    known, other = map(read_comparison, folders)
    recipe = recipe_content(replace(known, stages=nodes), folders[0])
    square = data_uri(torch.full((3, 8, 8), 128, dtype=torch.uint8))
    outputs = [{"method": m, "steps": 40, "start": square, "end": square} for m in FIDS]
    image = {"concept": "oil-c", "prompt": NASTY, "split": "unseen_combination", "seed": 0}
    recipe["images"] = [image | {"photo": square, "target": square, "outputs": outputs}]
    histogram = {"zoo": [0.5, 0.5], "zoo_rms": 0.1, "generated": [0.25, 0.75], "generated_rms": 0.2}
    recipe["weights"] = [{"layer": "down.0", "shape": [2, 3], "range": 0.5} | histogram]
    path = reports / "dashboard" / "index.html"
    content = {"recipes": [recipe, recipe_content(other, folders[1])]}
    write_text(path, page(content, stage_svg(nodes, ""), "now"))
    return path


def column(tab, table, key):
    return tab.eval_on_selector_all(f"#{table} tbody [data-key='{key}']", "cells => cells.map(c => c.dataset.value)")


def test_the_numbers_on_the_page_are_those_of_the_tables(known, visit):
    tab = visit(known)
    with (known.parent.parent / "known" / "summary.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "unseen_combination"]
    assert column(tab, "summary", "method") == [label(row["method"]) for row in rows]
    for name in ("fid_start", "fid_end", "l1_start", "l1_end", "gap_closed", "seconds"):
        shown = [float(cell) for cell in column(tab, "summary", name)]
        assert shown == [float(row[name]) for row in rows], name
    row = tab.locator("#summary tr.ours")
    # (.30 - .14) / (.30 - .05) of the gap: the same on each concept, so without width.
    assert row.locator("[data-key=gap_closed]").inner_text().split("[")[0].strip() == "0.64"
    assert "[0.64, 0.64]" in row.inner_text()
    assert [float(v) for v in column(tab, "concepts", "generated")] == pytest.approx([800.0, 880.0, 960.0])
    assert "pays from concept" in tab.locator("#cost").inner_text()
    assert column(tab, "cost", "e2gan break_even_concepts") == [
        "50",
        "0",
    ]  # 100 s once, 2 s saved; pix2pix never gets there
    assert tab.locator("#wins tbody tr").count() == 3
    assert tab.locator("#novelty .dot").count() == 2


def test_a_table_sorts_both_ways_by_mouse_and_keyboard(known, visit):
    tab = visit(known)
    header = tab.locator("#summary thead th[data-key=fid_end]")
    assert header.get_attribute("aria-sort") == "none"
    header.locator("button").click()
    up = [float(cell) for cell in column(tab, "summary", "fid_end")]
    assert (up, header.get_attribute("aria-sort")) == (sorted(up), "ascending")
    assert column(tab, "summary", "method")[0] == label("pix2pix")
    header.locator("button").focus()
    tab.keyboard.press("Enter")
    assert [float(cell) for cell in column(tab, "summary", "fid_end")] == up[::-1]
    assert header.get_attribute("aria-sort") == "descending"
    assert tab.locator("#summary thead th[data-key=method]").get_attribute("aria-sort") == "none"
    for _ in range(2):  # unknown figures come last, either way
        tab.locator("#summary th[data-key=seconds_to_target] button").click()
        assert column(tab, "summary", "seconds_to_target")[0] == "30"


def test_a_method_switched_off_leaves_every_figure_and_table(known, visit):
    tab = visit(known)
    curve, chip = (tab.locator("#curves .curve[data-method=generated]"), tab.locator(".chip[data-method=generated]"))
    assert (tab.locator("#curves .curve").count(), curve.count(), curve.locator(".band").count()) == (4, 1, 1)
    chip.click()
    assert (tab.locator("#curves .curve").count(), curve.count()) == (3, 0)
    assert chip.get_attribute("aria-pressed") == "false"
    for gone in ("#summary tr.ours", "#novelty [data-method=generated]", "#concepts th[data-key=generated]"):
        assert tab.locator(gone).count() == 0, gone
    assert tab.locator("#images tbody tr").count() == 1 + 3
    assert tab.evaluate("document.activeElement.dataset.method") == "generated"  # the keyboard stays where it was
    tab.keyboard.press("Space")
    assert curve.count() == 1
    tab.locator(".chip.all").click()
    assert tab.locator("#curves").inner_text().count("Every method is switched off") == 1
    tab.locator(".chip.all").click()
    assert tab.locator("#curves .curve").count() == 4


def test_split_metric_and_recipe_are_chosen(known, visit):
    tab = visit(known)
    tab.select_option("select[name=metric]", label="L1")
    assert "L1, lower is better" in tab.locator("#curves svg").inner_html()
    assert [float(v) for v in column(tab, "concepts", "e2gan")] == pytest.approx([0.05, 0.055, 0.06])
    tab.select_option("select[name=point]", label="step 0")
    assert [float(v) for v in column(tab, "concepts", "e2gan")] == pytest.approx([0.3, 0.33, 0.36])
    assert not tab.locator("#cost").is_hidden()
    tab.select_option("select[name=split]", label="unseen factor")
    assert tab.locator("#cost").is_hidden()  # known for the other split only
    assert tab.locator("#images").is_hidden()
    tab.select_option("select[name=recipe]", label="other")
    assert tab.locator("h1").inner_text().startswith("other")
    assert tab.locator("#stages").is_hidden()
    assert tab.locator("#curves .curve").count() == 4


def test_what_a_prompt_says_is_text_and_never_runs(known, visit):
    tab = visit(known)
    assert tab.evaluate("window.owned") is None
    assert tab.title() == "known: generated weights beside their rivals"
    shown = tab.locator("#concepts tbody .prompt").all_inner_texts()
    assert shown == list(PROMPTS.values())
    assert tab.locator("#images .prompt").inner_text() == NASTY
    tab.locator("#stages .stage[data-part=pairs]").press("Enter")
    assert tab.locator("#stages tbody [data-key=label]").all_inner_texts() == ["photos", NASTY]
    assert tab.locator("#stages tbody [data-key=key]").all_inner_texts()[1] == "f" * 20
    assert tab.locator("#stages tbody [data-key=seconds]").all_inner_texts() == ["2.50 s", "–"]
    assert tab.locator("script").count() == 2  # the page's data and its own


def test_links_lead_to_the_reports_and_narrow_screens_have_no_sideways_scroll(known, visit):
    for width, scheme in ((1280, "light"), (360, "dark")):
        tab = visit(known, width, scheme)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.locator("#curves svg .gridline").count() > 5
    links = tab.eval_on_selector_all("#links a", "links => links.map(link => link.getAttribute('href'))")
    assert "../known/report.md" in links
    assert all((known.parent / link).is_file() for link in links)
    light, dark = (
        visit(known, 800, s).evaluate("getComputedStyle(document.body).backgroundColor") for s in ("light", "dark")
    )
    assert light != dark


def test_the_page_of_a_finished_run(smoke, visit):
    """`make dashboard` as a user runs it, on a recipe whose reports are there: nothing is trained for it."""
    before = {p: p.stat().st_mtime_ns for p in (smoke.folder / "artifacts").glob("*/*/files.json")}
    printed = smoke("dashboard", "project=mine").stdout
    path = smoke.folder / "reports" / "dashboard" / "index.html"
    assert str(path) in printed
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert path.stat().st_size < 600_000
    tab = visit(path)
    assert tab.locator("#curves .curve").count() == 6
    assert tab.locator("#images img").count() > 20
    assert tab.eval_on_selector_all("#images img", "all => all.every(one => one.naturalWidth > 0)")
    assert tab.locator("#weights figure").count() > 5
    assert set(tab.eval_on_selector_all("#stages .stage", "all => all.map(one => one.dataset.part)")) >= {
        "photos", "pairs", "zoo", "other LoRAs", "blocks", "denoiser", "init", "finetune",
    }  # fmt: skip
    assert tab.locator("#stages .stage:not(.finished)").count() == 0
