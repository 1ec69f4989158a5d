"""A fleet survives a kill, a full memory and refusals."""

import copy
import io
from functools import partial

import pytest
import pytorch_lightning as pl
import torch

from tests.helpers.fleet import ADAM, NAMES, TWENTY, assert_solo, base, discriminator, fleet, run, spec, trainer
from weightgen.errors import WeightgenError
from weightgen.translation.fleet.batches import FleetBatches
from weightgen.translation.fleet.discriminators import StackedDiscriminator
from weightgen.translation.fleet.training import FleetModule, FleetSteps
from weightgen.translation.lora import inject_lora, lora_state


def resumed(module: FleetModule, steps: dict[str, int], **options):
    """A new fleet of `steps` that goes on from `module`, through a file."""
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    again, results = fleet(steps, **options)
    again.load_state_dict(torch.load(file, weights_only=True))
    return again, results


def test_resumed_equals_uninterrupted():
    steps = {"red": 4, "green": 9, "blue": 8}
    whole, expected = fleet(steps, size=2)
    run(whole)
    part, before = fleet(steps, size=2)
    for step in range(6):
        part.training_step(step, step)
    again, after = resumed(part, steps, size=2)
    assert again.fleet_step == 6
    run(again)
    assert list(before) == ["red"]
    assert list(after) == ["green", "blue"]
    for name, result in (before | after).items():
        for factor, weight in result.state.items():
            assert torch.equal(weight, expected[name].state[factor])


def test_resumed_without_a_concept_that_has_become_an_artifact():
    part, _ = fleet({"red": 9, "green": 9}, size=1)
    for step in range(3):
        part.training_step(step, step)
    again, results = resumed(part, {"blue": 4, "green": 5})
    run(again)
    assert_solo(results, {"green": 5, "blue": 4})


def test_a_trainer_resumes_from_its_checkpoint(tmp_path):
    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_index):
            if batch_index == 2:
                trainer.save_checkpoint(tmp_path / "last.ckpt")
                trainer.should_stop = True

    steps = {"red": 4, "blue": 5}
    part, _ = fleet(steps)
    first = trainer()
    first.callbacks.append(Stop())
    first.fit(part, FleetSteps(part))
    again, results = fleet(steps)
    trainer().fit(again, FleetSteps(again, start=3), ckpt_path=tmp_path / "last.ckpt")
    assert again.fleet_step == 5
    assert_solo(results, steps)


def test_out_of_memory_parks_half_and_changes_nothing():
    class Small(FleetBatches):
        def batch(self, concepts, steps, device=None):
            if len(concepts) > room["concepts"]:
                raise torch.OutOfMemoryError("no")
            return super().batch(concepts, steps, device)

    room = {"concepts": 3}
    steps = {"red": 6, "green": 5, "blue": 4}
    module, results = fleet(steps)
    module.batches.__class__ = Small
    module.training_step(0, 0)
    room["concepts"] = 1
    run(module)
    assert module.size == 1
    assert_solo(results, steps)
    room["concepts"] = 0
    with pytest.raises(torch.OutOfMemoryError):
        run(fleet(steps, batches=module.batches)[0])


def test_running_out_of_memory_between_the_two_updates_undoes_the_first(monkeypatch):
    from weightgen.translation.fleet import training as module_under_test

    steps = {"red": 4, "green": 4}
    module, results = fleet(steps)
    real, calls = module_under_test.generator_loss, []

    def once(logits):
        calls.append(len(logits))
        if len(calls) == 3:
            raise torch.OutOfMemoryError("no")
        return real(logits)

    monkeypatch.setattr(module_under_test, "generator_loss", once)
    run(module)
    assert module.size == 1
    assert_solo(results, steps)


def test_a_concept_that_may_not_be_claimed_is_left_to_others():
    asked = []

    def claim(name: str) -> bool:
        asked.append((name, module.fleet_step))
        return name != "green"

    steps = {"red": 4, "green": 5, "blue": 3}
    module, results = fleet(steps, size=1, claim=claim)
    assert module.remaining == 12
    for step in range(2):
        module.training_step(step, step)
    assert module.remaining == 12 - 2
    run(module)
    assert asked == [("red", 0), ("green", 4), ("blue", 4)]
    assert module.remaining == 0
    assert_solo(results, {"red": 4, "blue": 3})


def test_concepts_may_start_from_their_own_factors():
    steps = {"green": 6, "blue": 6}
    states = {n: lora_state(inject_lora(base(), spec("ab", NAMES.index(n), own=True))) for n in steps}
    module, results = fleet(steps, "ab", lora=states.__getitem__)
    run(module)
    assert_solo(results, steps, train="ab", own=True)


def test_stacked_discriminators_equal_separate_ones_with_their_gradients():
    singles = [copy.deepcopy(discriminator()) for _ in NAMES]
    for number, single in enumerate(singles):
        for parameter in single.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
    stacked = StackedDiscriminator(singles[0])
    rows = torch.stack([stacked.pack(single) for single in singles]).requires_grad_()
    source, image = torch.rand(2, 3, 2, 3, 16, 16) * 2 - 1
    logits = stacked(rows, source, image)
    expected = torch.stack([m(s, x) for m, s, x in zip(singles, source, image, strict=True)])
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    (gradient,) = torch.autograd.grad(logits.square().sum(), rows)
    expected.square().sum().backward()
    for row, single in zip(gradient, singles, strict=True):
        by_hand = torch.cat([p.grad.flatten() for p in single.parameters()])
        torch.testing.assert_close(row, by_hand, atol=1e-3, rtol=1e-4)


def test_refusals(monkeypatch):
    with pytest.raises(ValueError, match="size"):
        fleet(TWENTY, size=0)
    with pytest.raises(ValueError, match="steps"):
        fleet({"red": 0})
    norm = copy.deepcopy(base())
    norm.extra = torch.nn.BatchNorm2d(3)
    batches = fleet(TWENTY)[0].batches
    with pytest.raises(ValueError, match="eval"):
        FleetModule(norm.train(), spec("b"), TWENTY, batches, ADAM, print, size=1)
    half = trainer()
    monkeypatch.setattr(type(half), "precision", "16-mixed")
    with pytest.raises(WeightgenError, match="16-mixed"):
        half.fit(fleet(TWENTY)[0], range(1))
    sgd = partial(torch.optim.SGD, lr=0.1)
    with pytest.raises(WeightgenError, match="Adam"):
        FleetModule(base(), spec("b"), TWENTY, batches, sgd, print, size=1)
