"""A fleet trains its concepts as their solo runs would, whoever enters, leaves or diverges."""

import copy
from functools import partial

import pytest
import torch

import tests.helpers.fleet as helpers
from tests.helpers.fleet import NAMES, TWENTY, assert_solo, base, data, discriminator, fleet, run, solo, trainer
from weightgen.translation.fleet.batches import FleetBatches
from weightgen.translation.fleet.training import FleetSteps


@pytest.mark.parametrize("gan", [True, False], ids=["gan", "l1"])
@pytest.mark.parametrize("train", ["ab", "b"])
def test_twenty_steps_equal_one_at_a_time(train, gan):
    module, results = fleet(TWENTY, train, gan)
    trainer().fit(module, FleetSteps(module))
    assert_solo(results, TWENTY, train=train, gan=gan)
    names = {"train/l1"} | ({"train/gan", "train/discriminator"} if gan else set())
    assert set(module.last_losses) == names
    start = module.stacked.zero(1)
    moved = max(float((w - start[n][0]).abs().max()) for n, w in results["red"].state.items())
    assert moved > 50 * 1e-4  # the tolerance is small beside what was learnt


def test_in_double_precision_it_is_the_same_after_long_training(monkeypatch):
    """Rounding grows chaotically with steps; in float64 it has no time to, and any other difference would show."""
    for name in ("training", "fleet.training"):
        monkeypatch.setattr(f"weightgen.translation.{name}.to_signed", lambda x: x.double() / 127.5 - 1)
    doubled, single = copy.deepcopy(base()).double(), discriminator
    monkeypatch.setattr(helpers, "base", lambda: doubled)
    monkeypatch.setattr(helpers, "discriminator", lambda: single().double())
    photos, targets, tokens, mask = data()
    monkeypatch.setattr(helpers, "data", lambda: (photos, targets, tokens.double(), mask))
    monkeypatch.setattr(helpers, "ADAM", partial(torch.optim.Adam, lr=5e-3, betas=(0.5, 0.999)))
    steps = dict.fromkeys(NAMES, 60)
    module, results = fleet(steps, "ab")
    run(module)
    for concept, name in enumerate(NAMES):
        for factor, weight in solo.__wrapped__(concept, 60, "ab").items():
            torch.testing.assert_close(results[name].state[factor], weight, atol=1e-6, rtol=0, msg=factor)


def test_concepts_enter_late_and_leave_when_finished():
    steps = {"red": 4, "green": 9, "blue": 12}  # blue takes red's place
    module, results = fleet(steps, size=2)
    assert FleetSteps(module).steps == 16
    sizes = []
    for step in FleetSteps(module):
        module.training_step(step, step)
        sizes.append(len(module.members))
    assert sizes == [2] * 8 + [1] * 7 + [0]
    assert list(results) == ["red", "green", "blue"]
    assert_solo(results, steps)
    assert all(result.seconds > 0 for result in results.values())


class Poisoned:
    """FleetBatches whose concept `bad` has targets that are not a number at step `at` of its own."""

    def __init__(self, batches: FleetBatches, bad: int, at: int) -> None:
        self.batches, self.bad, self.at = batches, bad, at

    def batch(self, concepts, steps, device):
        drawn = self.batches.batch(concepts, steps, device)
        target = drawn["target"].float().unflatten(0, (len(concepts), -1))
        for row, (concept, step) in enumerate(zip(concepts, steps, strict=True)):
            target[row] += float("nan") if (concept, step) == (self.bad, self.at) else 0.0
        return {**drawn, "target": target.flatten(0, 1)}


@pytest.mark.parametrize("train", ["ab", "b"])
def test_a_diverged_concept_leaves_and_disturbs_nobody(train):
    module, results = fleet(TWENTY, train, check_every=5)
    module.batches = Poisoned(module.batches, bad=1, at=6)
    run(module)
    lost = results.pop("green")
    assert (lost.state, lost.steps) == (None, 10)  # seen at the first look after its step 7
    assert_solo(results, {"red": 20, "blue": 20}, train=train)


def test_divergence_in_the_last_step_is_no_result():
    module, results = fleet({"red": 3, "green": 3}, check_every=100)
    module.batches = Poisoned(module.batches, bad=0, at=2)
    run(module)
    assert results["red"].state is None
    assert results["green"].state is not None
