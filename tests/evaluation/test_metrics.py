import pytest
import torch
from torch import nn

from weightgen.evaluation.distances import frechet_distance, kernel_distance
from weightgen.evaluation.features import EfficientNetLite0Features
from weightgen.evaluation.metrics import ImageMetrics, PerceptualLoss, collapsed


class Colours(nn.Module):
    """Pooled = mean colour in [0, 1]; the one map is the image itself."""

    name = "colours"
    dim = 3

    def levels(self, images):
        x = images.float() / 255
        return x.mean(dim=(2, 3)), [x]


def _random(count, size=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def _flat(*colours):
    return torch.tensor(colours, dtype=torch.uint8)[:, :, None, None].expand(-1, 3, 4, 4).contiguous()


def test_every_score_by_hand():
    metrics = ImageMetrics(Colours())
    targets = _flat((255, 0, 0), (0, 255, 0))
    outputs = _flat((0, 0, 255), (0, 255, 0))
    scores = metrics(outputs, metrics.reference(targets))
    # One image of two is off by 255 in two of three channels.
    assert scores["l1"] == pytest.approx(0.5 * 2 / 3)
    # Orthogonal unit vectors are 2 apart, squared; the other image is equal.
    assert scores["perceptual"] == pytest.approx(1.0, abs=1e-5)
    # Equal variances along (1, -1, 0) / sqrt 2 and (0, 1, -1) / sqrt 2, both 1; cosine 1/2; means 1/2 apart.
    assert scores["fid"] == pytest.approx(0.5 + 1 + 1 - 2 * 0.5)


def test_identical_images_score_zero():
    metrics = ImageMetrics(Colours())
    images = _random(5)
    scores = metrics(images, metrics.reference(images))
    assert scores["l1"] == 0
    assert scores["fid"] == pytest.approx(0, abs=1e-9)
    assert scores["perceptual"] == pytest.approx(0, abs=1e-5)


def test_scores_are_the_distances_of_the_pooled_features():
    metrics, outputs, targets = ImageMetrics(Colours()), _random(7), _random(7, seed=1)
    scores = metrics(outputs, metrics.reference(targets))
    x, y = Colours().levels(outputs)[0], Colours().levels(targets)[0]
    assert scores["fid"] == pytest.approx(frechet_distance(x, y))
    assert scores["kid"] == pytest.approx(kernel_distance(x, y))


def test_a_reference_stays_where_its_features_are():
    """On torch's meta device, which mixes with no other: nothing of it was computed on the CPU."""
    features = Colours()
    features.register_buffer("weight", torch.zeros(1, device="meta"))
    reference = ImageMetrics(features, 3).reference(_random(7))
    kept = [reference.targets, reference.pooled, *reference.maps, reference.statistics.mean, reference.statistics.root]
    assert {value.device.type for value in kept} == {"meta"}
    assert [len(value) for value in kept[:3]] == [7, 7, 7]


def test_the_perceptual_loss_is_the_score_and_knows_its_gradient():
    features = EfficientNetLite0Features()
    outputs, targets = _random(3, size=32), _random(3, size=32, seed=1)
    metrics = ImageMetrics(features)
    score = metrics(outputs, metrics.reference(targets))["perceptual"]
    signed = [images.float() / 127.5 - 1 for images in (outputs, targets)]
    signed[0].requires_grad_()
    loss = PerceptualLoss(features)(*signed)
    assert loss.shape == (3,)
    assert float(loss.detach().mean()) == pytest.approx(score, rel=1e-3)  # its reference is kept in half precision
    loss[1].backward()
    assert [bool(row.any()) for row in signed[0].grad] == [False, True, False]
    assert PerceptualLoss(features)(signed[1], signed[1]).tolist() == [0, 0, 0]


def test_the_batch_size_does_not_matter():
    outputs, targets = _random(7), _random(7, seed=1)
    one, all_at_once = (ImageMetrics(Colours(), size) for size in (2, 100))
    assert one(outputs, one.reference(targets)) == pytest.approx(
        all_at_once(outputs, all_at_once.reference(targets)), rel=1e-6
    )


def test_misuse_is_refused():
    metrics = ImageMetrics(Colours())
    reference = metrics.reference(_random(4))
    with pytest.raises(ValueError, match="targets"):
        metrics(_random(5), reference)
    with pytest.raises(ValueError, match="uint8"):
        metrics.reference(_random(4).float())
    with pytest.raises(ValueError, match="batch_size"):
        ImageMetrics(Colours(), 0)
    other = Colours()
    other.name = "inception"
    with pytest.raises(ValueError, match="made with colours"):
        ImageMetrics(other)(_random(4), reference)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (torch.zeros(4, 3, 8, 8), True),  # black
        (torch.full((1, 3, 8, 8), 255.0), True),  # white, and but one
        (torch.arange(4.0)[:, None, None, None].expand(4, 3, 8, 8) * 60, True),  # each of one colour, another each
        (torch.arange(64.0).reshape(1, 1, 8, 8).expand(4, 3, 8, 8), True),  # one picture for every photo
        (torch.arange(64.0).reshape(1, 1, 8, 8).expand(1, 3, 8, 8), False),  # of a single photo nobody can tell
        (
            torch.arange(64.0).reshape(1, 1, 8, 8) * torch.ones(4, 3, 1, 1)
            + 30 * torch.arange(4.0)[:, None, None, None],
            False,
        ),
    ],
)
def test_a_translator_that_draws_nothing_is_collapsed(images, expected):
    assert collapsed(images.to(torch.uint8)) is expected
