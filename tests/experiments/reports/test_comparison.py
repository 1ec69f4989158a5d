"""The comparison that all reports show: what follows from what its methods need."""

from pathlib import Path

from experiments.reports.gather import spent_once
from weightgen.artifacts import Spec, Store
from weightgen.evaluation.results import read_numbers
from weightgen.files import write_json


def test_a_method_is_charged_the_closure_of_its_own_inputs(tmp_path: Path) -> None:
    """Two train concepts, of which the base learned from the first alone, one validation and one new concept."""
    store = Store(tmp_path)

    def built(
        stage: str, inputs: list[Spec], seconds: float, subject: str = "", used: list[Spec] | None = None
    ) -> Spec:
        spec = Spec(stage, 1, {"of": subject}, tuple(inputs), subject=subject)

        def build(folder: Path) -> dict[str, float]:
            if used is not None:
                write_json(folder / "inputs.json", [each.reference() for each in used])
            return {"seconds": seconds}

        store.ensure(spec, build)
        return spec

    pairs = {name: built("pairs", [], seconds, name) for name, seconds in zip("abvn", (1, 2, 4, 8), strict=True)}
    base = built("base", [pairs["a"], pairs["b"]], 16, used=[pairs["a"]])
    loras = {
        name: built("lora", [base, pairs[name]], seconds, name)
        for name, seconds in zip("abvn", (32, 64, 128, 256), strict=True)
    }
    blocks = built("blocks", [base, loras["a"], loras["b"]], 0)
    denoiser = built("denoiser", [blocks], 512)
    fit = built("fit", [base, blocks, loras["v"]], 1024)

    def once(*inputs: Spec) -> dict[str, float]:
        return spent_once(Spec("init", 1, {}, inputs), ["n"], store)

    assert once(base) == {"base": 16, "pairs": 1}  # e2gan: the pairs that its base learned from
    assert once(base, pairs["n"]) == {"base": 16, "pairs": 1}  # a new concept's own are no part
    assert once(base, loras["n"]) == {"base": 16, "pairs": 1}
    zoo = {"base": 16, "pairs": 1 + 2, "lora": 32 + 64, "blocks": 0}
    assert once(base, blocks) == zoo
    assert once(base, denoiser, blocks) == zoo | {"denoiser": 512}
    assert once(base, fit, blocks) == zoo | {"pairs": 1 + 2 + 4, "lora": 32 + 64 + 128, "fit": 1024}


def test_novelty_is_there_for_every_start_that_is_built_on_the_zoo(smoke, tmp_path) -> None:
    """`guided` needs the generator and the guide: the only method here that is built on the zoo."""
    smoke("evaluate", "methods=[e2gan,guided,trained]", "logger=csv", "strategy.workers=1", f"paths.reports={tmp_path}")
    novelty = read_numbers(tmp_path / "smoke" / "novelty.csv")
    assert {row["method"] for row in novelty} == {"guided", "trained"}
    assert all(row["nearest_distance"] > 0 for row in novelty)
    own = [row["weight_error"] for row in novelty if row["method"] == "trained"]
    assert own == [0.0] * len(own)
    assert "Novelty of the generated weights" in (tmp_path / "smoke" / "report.md").read_text()
    assert (tmp_path / "smoke" / "novelty.png").stat().st_size > 1000
    assert read_numbers(tmp_path / "smoke" / "cost.csv") == []  # the break-even is that of `generated`
