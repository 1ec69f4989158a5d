"""Edits of a photo set, with a stub in place of a model: what is flawed, tried again, left out, kept over a kill."""

from types import SimpleNamespace

import pytest
import torch

from weightgen.data.editors.flaws import FLAWS, flaws
from weightgen.data.editors.resumable import edit_photos
from weightgen.errors import DataError

CONCEPT = SimpleNamespace(name="negative", prompt="a negative")
PHOTOS = {  # photo i is of grey i + 10, so that a stub knows which it has
    "train": (torch.arange(7, dtype=torch.uint8) + 10)[:, None, None, None].expand(7, 3, 4, 4).contiguous(),
    "test": (torch.arange(3, dtype=torch.uint8) + 100)[:, None, None, None].expand(3, 3, 4, 4).contiguous(),
}


class Stub:
    """Edits to the negative, but for photos (by grey) whose first edits are flawed: grey -> what each attempt does."""

    def __init__(self, flawed=None, dies_at=None, batch_size=2, retries=1, min_change=0.05, min_kept=0.5):
        self.flawed, self.dies_at, self.calls = flawed or {}, dies_at, []
        self.batch_size, self.retries, self.min_change, self.min_kept = (batch_size, retries, min_change, min_kept)

    def edit(self, photos, concept, attempt):
        if len(self.calls) == self.dies_at:
            raise KeyboardInterrupt
        greys = photos[:, 0, 0, 0].tolist()
        self.calls.append((attempt, greys))
        edited = 1 - photos.float() / 255
        for row, grey in enumerate(greys):
            does = self.flawed.get(grey, ())
            what = does[attempt] if attempt < len(does) else "fine"
            if what == "nan":
                edited[row, 1, 2, 3] = torch.nan
            if what == "black":
                edited[row] = 0
            if what == "unchanged":
                edited[row] = photos[row].float() / 255 + 0.04
        return edited


def test_each_flaw_is_told_from_the_others():
    photos = torch.full((6, 3, 2, 2), 100, dtype=torch.uint8)
    photos[4] = 0  # a black photo may stay black: then it is unchanged
    edited = photos.float() / 255
    edited[0] += 0.2
    edited[1, 0, 0, 0] = torch.inf
    edited[2] = 2 / 255
    edited[3] += 0.049
    edited[5] += 0.051
    expected = ["fine", "nan", "black", "unchanged", "unchanged", "fine"]
    assert [("fine", *FLAWS)[n] for n in flaws(photos, edited, 0.05)] == expected
    assert flaws(photos[:1], photos[:1].float() / 255, 0.0).tolist() == [
        3
    ]  # the very same is unchanged at any threshold


def test_whole_sets_keep_the_photos_order_and_have_no_sources(tmp_path):
    made = edit_photos(Stub(), PHOTOS, CONCEPT, tmp_path)
    assert made.sources is None
    assert all(torch.equal(made.targets[part], 255 - photos) for part, photos in PHOTOS.items())
    assert made.report | {"seconds": 0} == {
        "edits": 10,
        "retried": 0,
        "nan": 0,
        "black": 0,
        "unchanged": 0,
        "flat": 0,
        "dropped": {"train": [], "test": []},
        "seconds": 0,
    }


def test_a_flawed_edit_is_tried_again_then_its_pair_left_out(tmp_path):
    stub = Stub({11: ["nan"], 13: ["black", "unchanged"], 101: ["unchanged", "unchanged"]})
    made = edit_photos(stub, PHOTOS, CONCEPT, tmp_path)
    assert made.report["dropped"] == {"train": [3], "test": [1]}
    assert {flaw: made.report[flaw] for flaw in FLAWS} == {"nan": 1, "black": 1, "unchanged": 3, "flat": 0}
    assert (made.report["edits"], made.report["retried"]) == (13, 3)
    assert made.sources["train"][:, 0, 0, 0].tolist() == [10, 11, 12, 14, 15, 16]
    assert made.sources["test"][:, 0, 0, 0].tolist() == [100, 102]
    assert all(torch.equal(made.targets[part], 255 - made.sources[part]) for part in PHOTOS)
    assert [greys for attempt, greys in stub.calls if attempt] == [[11, 13], [101]]


def test_too_few_left_is_an_error_that_says_what_to_change(tmp_path):
    stub = Stub({grey: ["unchanged", "unchanged"] for grey in range(10, 14)})
    with pytest.raises(DataError, match=r"negative: only 3 of 7 train .*8 unchanged.*editor\.min_change"):
        edit_photos(stub, PHOTOS, CONCEPT, tmp_path)


@pytest.mark.parametrize("dies_at", [1, 3, 5, 6])
def test_killed_and_resumed_the_finished_edits_are_not_made_again(tmp_path, dies_at):
    flawed = {12: ["black"], 102: ["nan"]}
    whole = Stub(flawed)
    (tmp_path / "whole").mkdir()
    expected = edit_photos(whole, PHOTOS, CONCEPT, tmp_path / "whole")
    killed, resumed = Stub(flawed, dies_at), Stub(flawed)
    (tmp_path / "ours").mkdir()
    with pytest.raises(KeyboardInterrupt):
        edit_photos(killed, PHOTOS, CONCEPT, tmp_path / "ours")
    made = edit_photos(resumed, PHOTOS, CONCEPT, tmp_path / "ours")
    assert killed.calls + resumed.calls == whole.calls  # the same batches, each once
    assert all(torch.equal(made.targets[part], expected.targets[part]) for part in PHOTOS)


def test_another_batch_size_goes_on_where_the_first_stopped(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        edit_photos(Stub(dies_at=2), PHOTOS, CONCEPT, tmp_path)
    resumed = Stub(batch_size=3)
    made = edit_photos(resumed, PHOTOS, CONCEPT, tmp_path)
    assert [greys for _, greys in resumed.calls] == [[14, 15], [16], [100, 101, 102]]
    assert torch.equal(made.targets["train"], 255 - PHOTOS["train"])


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_one_colour_all_over_is_a_flaw_unless_the_photo_is_so(level):
    ramp = torch.arange(16, dtype=torch.uint8).reshape(1, 1, 4, 4).expand(2, 3, 4, 4) * 10
    photos = torch.cat([ramp, torch.full((1, 3, 4, 4), 60, dtype=torch.uint8)])
    edited = torch.full((3, 3, 4, 4), level)
    edited[1, 0, 0, 0] = 1 - 0.9 * level  # something is drawn
    named = [("fine", *FLAWS)[number] for number in flaws(photos, edited, 0.0)]
    assert named == ["black" if level == 0 else "flat", "fine", "black" if level == 0 else "fine"]


def test_one_picture_for_every_photo_is_an_error(tmp_path):
    class Stuck(Stub):
        def edit(self, photos, concept, attempt):
            return torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)).expand(len(photos), 3, 4, 4)

    with pytest.raises(DataError, match="all 7 edits are one and the same picture"):
        edit_photos(Stuck(), PHOTOS, CONCEPT, tmp_path)
