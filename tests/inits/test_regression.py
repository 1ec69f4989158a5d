"""Text-to-weights regressions against closed forms and scikit-learn."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.linear_model import Ridge

from weightgen.errors import WeightgenError
from weightgen.inits.base import Validation, WeightSpace
from weightgen.inits.regression import MlpInit, RidgeInit
from weightgen.text.encoders import TextFeatures

N, V, E, K, D = 12, 4, 20, 3, 5
ZERO = torch.zeros(K, D)


def told(*pooled):
    return [TextFeatures(torch.zeros(1, 2, 2), torch.ones(1, 2, dtype=torch.bool), row[None]) for row in pooled]


def judged(pooled, answers):
    """Validation concepts whose translators are the better the nearer their sets are to `answers`, squared."""
    return Validation(told(*pooled), lambda sets: (sets - answers).square().flatten(1).sum(1))


def linear_zoo(sigma=0.3, n=N):
    """Weights that are a linear function of the text, plus noise; -> space, prompts and sets of validation concepts."""
    g = torch.Generator().manual_seed(0)
    pooled = torch.nn.functional.normalize(torch.randn(n + V, E, generator=g), dim=1)
    weights = pooled @ torch.randn(E, K * D, generator=g) + 2
    blocks = (weights + sigma * torch.randn(n + V, K * D, generator=g)).unflatten(1, (K, D))
    return WeightSpace(ZERO, blocks[:n], pooled[:n], validation=judged(pooled[n:], blocks[n:])), pooled[n:], blocks[n:]


def predict(init, space, pooled, seed=0):
    space = replace(space, fitted=init.fit(space, seed))
    return torch.stack([init(space, text, torch.Generator()) for text in told(*pooled)])


@pytest.mark.parametrize("penalty", [0.01, 0.5, 100.0])
@pytest.mark.parametrize("n", [12, 40])  # fewer and more concepts than text dimensions
def test_ridge_is_scikit_learns(penalty, n):
    space, asked, _ = linear_zoo(n=n)
    ours = predict(RidgeInit([penalty]), space, asked)
    reference = Ridge(alpha=penalty).fit(space.pooled.double().numpy(), space.blocks.flatten(1).double().numpy())
    theirs = reference.predict(asked.double().numpy())
    np.testing.assert_allclose(ours.flatten(1).numpy(), theirs, rtol=1e-4, atol=1e-5)


def test_ridge_by_hand():
    # x = -1, 0, 1 and y = 0, 3, 6: slope x'y / (x'x + penalty) = 6 / (2 + 1), intercept 3
    space = WeightSpace(
        torch.zeros(1, 1),
        torch.tensor([0.0, 3.0, 6.0]).reshape(3, 1, 1),
        torch.tensor([[-1.0], [0.0], [1.0]]),
        validation=judged(torch.tensor([[1.0]]), torch.tensor([[[5.0]]])),
    )
    fitted = RidgeInit([1.0]).fit(space, 0)
    assert float(predict(RidgeInit([1.0]), space, torch.tensor([[2.0]]))) == pytest.approx(7.0)
    assert float(fitted["validation_error"]) == pytest.approx(0.0, abs=1e-10)  # predicts 5 at 1
    # slopes 6 / 2.5, 2 and 6 / 4: the second predicts the validation set exactly
    assert RidgeInit([0.5, 1.0, 2.0]).fit(space, 0)["penalty"].tolist() == [1.0]


def test_the_penalty_is_the_best_on_validation():
    space, asked, answers = linear_zoo()
    penalties = [0.001, 0.03, 0.3, 3.0, 1000.0]
    errors = {}
    for penalty in penalties:
        model = Ridge(alpha=penalty).fit(space.pooled.double().numpy(), space.blocks.flatten(1).double().numpy())
        difference = model.predict(asked.double().numpy()) - answers.flatten(1).numpy()
        errors[penalty] = float((difference**2).sum(1).mean())
    fitted = RidgeInit(penalties).fit(space, 0)
    assert float(fitted["penalty"]) == pytest.approx(min(errors, key=errors.get))
    assert float(fitted["validation_error"]) == pytest.approx(min(errors.values()), rel=1e-4)


def test_of_equal_penalties_the_largest_wins():
    space, *_ = linear_zoo()
    same = replace(space, pooled=space.pooled[:1].expand(N, -1))  # the text says nothing
    fitted = RidgeInit([0.1, 10.0, 1.0]).fit(same, 0)
    assert fitted["penalty"].tolist() == [10.0]
    for init in (RidgeInit(), MlpInit(epochs=3)):
        out = predict(init, same, space.pooled[:1])
        torch.testing.assert_close(out[0], space.blocks.mean(0), rtol=1e-4, atol=1e-5)


def test_validation_sets_choose_and_never_teach():
    space, asked, answers = linear_zoo()
    other = replace(space, validation=judged(asked, answers.flip(0) * 3))
    init = RidgeInit([0.3])
    assert torch.equal(predict(init, space, space.pooled), predict(init, other, space.pooled))


@pytest.mark.parametrize("init", [RidgeInit(), MlpInit(epochs=5)])
def test_one_train_concept_is_its_own_answer(init):
    space, asked, _ = linear_zoo()
    one = replace(space, blocks=space.blocks[:1], pooled=space.pooled[:1])
    torch.testing.assert_close(predict(init, one, asked[:1])[0], space.blocks[0])


@pytest.mark.parametrize("init", [RidgeInit(), MlpInit()])
@pytest.mark.parametrize("nobody", [None, judged((), torch.zeros(0, K, D))])
def test_no_validation_concepts_names_the_remedy(init, nobody):
    with pytest.raises(WeightgenError, match=r"concepts\.validation"):
        init.fit(replace(linear_zoo()[0], validation=nobody), 0)


@pytest.mark.parametrize("init", [RidgeInit(), MlpInit(epochs=20)])
def test_a_fit_is_deterministic_and_survives_safetensors(init, tmp_path):
    space, *_ = linear_zoo()
    fitted = init.fit(space, 3)
    save_file(fitted, tmp_path / "fit.safetensors")
    loaded = load_file(tmp_path / "fit.safetensors")
    assert all(torch.equal(loaded[name], tensor) for name, tensor in init.fit(space, 3).items())
    assert sum(t.numel() for t in fitted.values()) < 10_000


def test_an_unfitted_regression_says_so():
    space, *_ = linear_zoo()
    text = TextFeatures(torch.zeros(1, 2, 2), torch.ones(1, 2, dtype=torch.bool), space.pooled[:1])
    for init in (RidgeInit(), MlpInit()):
        with pytest.raises(WeightgenError, match="not fitted"):
            init(space, text, torch.Generator())


def test_mlp_starts_at_the_mean_and_never_ends_above_it():
    space, asked, answers = linear_zoo()
    mean = space.blocks.mean(0)
    contrary = judged(asked, 2 * mean - answers)  # validation contradicts train
    fitted = MlpInit(epochs=30, look=1, lr=1e-2).fit(replace(space, validation=contrary), 0)
    assert int(fitted["epoch"]) <= 1
    assert float(fitted["validation_error"]) <= float(contrary.error(mean.expand(V, -1, -1)).mean()) * (1 + 1e-5)


def test_mlp_learns_what_a_line_cannot_say():
    # weights = the product of two text coordinates: uncorrelated with either
    g = torch.Generator().manual_seed(0)
    pooled = torch.rand(240, 2, generator=g) * 2 - 1
    blocks = (pooled[:, :1] * pooled[:, 1:])[:, :, None] * torch.tensor([1.0, -2.0])
    space = WeightSpace(torch.zeros(1, 2), blocks[:200], pooled[:200], validation=judged(pooled[200:], blocks[200:]))
    around_mean = float((blocks[200:] - blocks[:200].mean(0)).square().flatten(1).sum(1).mean())
    init = MlpInit(width=64, epochs=400, lr=1e-2, weight_decay=0.0)
    with torch.no_grad():  # where the pipeline may call it
        net = init.fit(space, 0)
    assert float(net["validation_error"]) < 0.1 * around_mean
    assert float(RidgeInit().fit(space, 0)["validation_error"]) > 0.8 * around_mean
    difference = (predict(init, space, pooled[200:]) - blocks[200:]).square().flatten(1).sum(1).mean()
    assert float(difference) == pytest.approx(float(net["validation_error"]), rel=1e-3)


@pytest.mark.parametrize("look", [1, 7])
def test_mlp_is_judged_every_few_epochs_and_stops_when_none_is_better(look):
    space, asked, answers = linear_zoo()
    looks = []

    def error(sets):
        looks.append(len(looks))
        return (sets - answers).square().flatten(1).sum(1) if len(looks) < 4 else torch.full((V,), 1e9)

    watched = replace(space, validation=Validation(told(*asked), error))
    fitted = MlpInit(epochs=1000, look=look, patience=5 * look).fit(watched, 0)
    assert int(fitted["epoch"]) <= 2 * look
    assert len(looks) == int(fitted["epoch"]) // look + 1 + 5


@pytest.mark.parametrize("penalties", [[], [0.0], [-1.0, 1.0]])
def test_senseless_penalties_are_named(penalties):
    with pytest.raises(WeightgenError, match=r"init\.penalties"):
        RidgeInit(penalties)


def test_senseless_sizes_are_named():
    with pytest.raises(WeightgenError, match=r"init\.width"):
        MlpInit(width=0)
