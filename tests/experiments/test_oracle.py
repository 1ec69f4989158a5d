"""The comparison itself, end to end, with denoisers whose answer is known: the concept's own weights, and the zoo's mean."""

import shutil

import pytest
import torch

from experiments.pipeline.build import Pipeline
from experiments.reports.runs import result_rows, run_specs
from experiments.stages import denoiser
from experiments.training.payloads import load_blocks, tensors, text_encoder
from tests.helpers.configs import composed
from weightgen.diffusion.sampler import Sampler, make_scheduler
from weightgen.evaluation.comparisons import summarize
from weightgen.evaluation.curves import collect
from weightgen.generation.block_generator import BlockGenerator

STEP_0 = ["budget.finetune.lora.steps=0", "budget.finetune.lora.points=[]", "strategy.workers=1"]


class Knowing(torch.nn.Module):
    """A denoiser that predicts given sets: answers (N, K, D), normalised, for the concepts with these tokens (N, L, E)."""

    def __init__(self, tokens: torch.Tensor, answers: torch.Tensor) -> None:
        super().__init__()
        self.tokens, self.answers = tokens, answers

    def forward(self, x_t, t, index, tokens, text_mask):
        same = (tokens[:, None] == self.tokens[None]).flatten(2).all(-1)
        assert bool((same.sum(1) == 1).all())
        return self.answers[same.int().argmax(1)]


@pytest.fixture
def run(smoke, tmp_path, monkeypatch):
    """generated(answer) -> its rows beside e2gan, mean and trained; answer(pipeline, concept, blocks, layout) -> (K, D)."""
    shutil.copytree(
        smoke.folder / "artifacts", tmp_path / "artifacts", ignore=shutil.ignore_patterns("finetune", "init")
    )

    def rows(answer):
        p = Pipeline(
            composed(
                "experiment=smoke",
                "logger=csv",
                "methods=[e2gan,mean,generated,trained]",
                f"paths.artifacts={tmp_path}/artifacts",
                *STEP_0,
            )
        )

        def knowing(inputs, steps):
            zoo, layout, normalizer = load_blocks(inputs.one("blocks").folder)
            concepts, encoder = p.test_concepts, text_encoder(p.options("text_encoder"))
            answers = torch.stack([answer(p, concept, zoo.blocks, layout) for concept in concepts])
            answers = normalizer.normalize(answers) * layout.valid()
            tokens = torch.cat([encoder.encode([concept.prompt]).tokens for concept in concepts])
            return BlockGenerator(Knowing(tokens, answers), Sampler(make_scheduler("sample")), layout, normalizer)

        monkeypatch.setattr(denoiser, "block_generator", knowing)
        specs = run_specs(p)
        p.ensure_all(specs)
        return result_rows(p, specs)

    return rows


def own(pipeline, concept, blocks, layout):
    return layout.to_blocks(tensors(pipeline.store.require(pipeline.lora(concept)) / "lora.safetensors"))


def scores(rows, method):
    """(concept, seed) -> (fid, l1)."""
    return {(r["concept"], r["seed"]): (r["fid"], r["l1"]) for r in rows if r["method"] == method}


def same(ours, theirs):
    return ours.keys() == theirs.keys() and all(ours[k] == pytest.approx(theirs[k], rel=1e-3) for k in ours)


def test_an_oracle_that_returns_the_true_weights_closes_the_gap(run) -> None:
    rows = run(own)
    closed = {(row["split"], row["method"]): row["gap_closed"] for row in summarize(collect(rows), bootstrap=0)}
    for split in ("unseen_combination", "unseen_factor"):
        assert closed[split, "generated"] == pytest.approx(1.0, abs=0.01)
        assert abs(closed[split, "mean"] - 1.0) > 0.05  # what knows less is told apart
    assert same(scores(rows, "generated"), scores(rows, "trained"))


def test_a_denoiser_that_returns_the_mean_scores_what_the_mean_scores(run) -> None:
    rows = run(lambda pipeline, concept, blocks, layout: blocks.mean(0))
    assert same(scores(rows, "generated"), scores(rows, "mean"))
    assert not same(scores(rows, "e2gan"), scores(rows, "mean"))
