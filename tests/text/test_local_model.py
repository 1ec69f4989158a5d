"""What a user points at counts by content."""

from experiments.pipeline.build import Pipeline
from tests.helpers.configs import composed


def test_a_local_model_enters_the_keys_by_content(tmp_path):
    (tmp_path / "one.bin").write_bytes(b"weights")

    def keys(name):
        given = f"text_encoder.pretrained={tmp_path / name}"
        p = Pipeline(composed("experiment=smoke", "text_encoder=open_clip", given))
        return p.base_spec.key, p.denoiser.key, str(p.base_spec.config)

    first = keys("one.bin")
    (tmp_path / "one.bin").rename(tmp_path / "two.bin")
    assert keys("two.bin") == first
    assert str(tmp_path) not in first[2]
    (tmp_path / "two.bin").write_bytes(b"weighty")
    assert keys("two.bin")[0] != first[0]
