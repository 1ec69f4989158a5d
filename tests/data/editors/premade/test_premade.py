"""Premade pairs from AB images, source/ and target/ folders and Parquet: every source with its own target."""

import json
import os
import shutil
import unicodedata
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from weightgen.data.editors.premade.editor import PremadePairs
from weightgen.data.splits import PARTS
from weightgen.errors import DataError, MissingModel

CONCEPTS = ("blue_only", "dark", "mirror", "negative", "red-only")
SIDE = 16


def photo(number: int) -> np.ndarray:
    """Distinct noise, uint8 (S, S, 3)."""
    return np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)


def edited(concept: str, image: np.ndarray) -> np.ndarray:
    return {
        "blue_only": image * np.array([0, 0, 1], np.uint8),
        "dark": image // 2,
        "mirror": image[:, ::-1],
        "negative": 255 - image,
        "red-only": image * np.array([1, 0, 0], np.uint8),
    }[concept]


def folders(root: Path, photos: int = 6) -> Path:
    """root/<concept>/{source,target}/<n>.png, the same photos for all."""
    for concept in CONCEPTS:
        for number in range(photos):
            for side, image in (("source", photo(number)), ("target", edited(concept, photo(number)))):
                place = root / concept / side
                place.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(place / f"{number}.png")
    return root


def aligned(root: Path, photos: int = 6, flip: bool = False) -> Path:
    """root/<concept>/{train,val}/<n>.png, A|B (B|A if `flip`), other photos for each concept: pix2pix's own layout."""
    for place, concept in enumerate(CONCEPTS):
        for number in range(photos):
            image = photo(100 * place + number)
            sides = [image, edited(concept, image)]
            file = root / concept / ("train" if number < 4 else "val") / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.hstack(sides[::-1] if flip else sides)).save(file)
    return root


def load(root: Path, **options) -> PremadePairs:
    return PremadePairs(root, size=SIDE, **options)


def check(premade: PremadePairs, photos: int = 6) -> None:
    """Every source, once, with its own target."""
    for concept in premade.concepts():
        made = premade.pairs({}, concept, Path())
        seen = []
        for part in PARTS:
            assert len(made.sources[part]) == len(made.targets[part]) >= 2
            for source, target in zip(made.sources[part], made.targets[part], strict=True):
                name = next(n for n in CONCEPTS if n.replace("_", " ").replace("-", " ") == concept.prompt)
                image = source.permute(1, 2, 0).numpy()
                assert np.array_equal(target.permute(1, 2, 0).numpy(), edited(name, image))
                seen.append(image.tobytes())
        assert len(set(seen)) == photos


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (folders, {}),
        (aligned, {}),
        (lambda root: aligned(root, flip=True), {"direction": "b_to_a"}),
        (lambda root: aligned(root), {"layout": "ab"}),
    ],
)
def test_each_source_has_its_own_target(tmp_path, make, options):
    check(load(make(tmp_path / "pairs"), **options))


def test_a_photo_is_for_testing_in_all_concepts_or_in_none(tmp_path):
    premade = load(folders(tmp_path / "pairs", photos=12))
    made = [premade.pairs({}, concept, Path()) for concept in premade.concepts()]
    for pairs in made[1:]:
        assert all(torch.equal(pairs.sources[part], made[0].sources[part]) for part in PARTS)
    both = {image.numpy().tobytes() for image in made[0].sources["train"]}
    assert not both & {image.numpy().tobytes() for image in made[0].sources["test"]}


def test_pairs_are_known_by_content_and_the_split_survives_renaming(tmp_path):
    root = folders(tmp_path / "pairs")
    before = {c.prompt: load(root).fingerprint(c) for c in load(root).concepts()}
    moved = shutil.copytree(root, tmp_path / "moved")
    for side in ("source", "target"):
        (moved / "dark" / side / "0.png").rename(moved / "dark" / side / "zzz.png")
    Image.open(moved / "mirror" / "source" / "1.png").save(moved / "mirror" / "source" / "1.bmp")
    (moved / "mirror" / "source" / "1.png").unlink()
    after = load(moved, cache=tmp_path / "cache")
    assert {c.prompt: after.fingerprint(c) for c in after.concepts()} == before
    assert (tmp_path / "cache" / "pictures.json").exists()
    again = load(moved, cache=tmp_path / "cache")
    assert {c.prompt: again.fingerprint(c) for c in again.concepts()} == before
    Image.fromarray(photo(99)).save(moved / "dark" / "target" / "zzz.png")
    changed = load(moved, cache=tmp_path / "cache")
    differ = [c.prompt for c in changed.concepts() if changed.fingerprint(c) != before[c.prompt]]
    assert differ == ["dark"]


def test_caps_prompts_and_splits(tmp_path):
    root = folders(tmp_path / "pairs", photos=8)
    (root / "dark" / "prompt.txt").write_text("a dim evening\nsecond line\n")
    table = tmp_path / "told.csv"
    table.write_text("concept,prompt,split\nmirror,seen in a mirror,unseen_combination\n")
    premade = load(root, train=3, validation=2, test=2, concepts_csv=table)
    concepts = {concept.prompt: concept for concept in premade.concepts()}
    assert set(concepts) == {"blue only", "a dim evening", "seen in a mirror", "negative", "red only"}
    assert concepts["seen in a mirror"].split == "unseen_combination"
    assert premade.splits == ["train", "validation", "unseen_combination", "unseen_factor"]
    assert {concept.split for concept in concepts.values()} == set(premade.splits)
    made = premade.pairs({}, concepts["negative"], Path())
    assert {part: len(images) for part, images in made.targets.items()} == {"train": 3, "validation": 2, "test": 2}


def damaged(root: Path, what: str) -> Path:
    """A folder with one thing wrong."""
    folders(root)
    source, target = root / "mirror" / "source", root / "mirror" / "target"
    if what == "count":
        (target / "3.png").unlink()
    if what == "name":
        (target / "3.png").rename(target / "three.png")
    if what == "size":
        Image.fromarray(photo(3)).resize((20, 20)).save(target / "3.png")
    if what == "truncated":
        (target / "3.png").write_bytes((target / "3.png").read_bytes()[:60])
    if what == "no target":
        shutil.rmtree(target)
    if what == "tiny":
        for side in (source, target):
            Image.fromarray(photo(3)).resize((6, 6)).save(side / "3.png")
    if what == "two of a name":
        shutil.copy(source / "3.png", source / "3.bmp")
    if what == "few":
        for side in (source, target):
            for number in (0, 1, 2):
                (side / f"{number}.png").unlink()
    if what == "not A|B":
        shutil.rmtree(root / "mirror")
        (root / "mirror").mkdir()
        Image.fromarray(photo(3)).resize((40, 30)).save(root / "mirror" / "3.png")
    if what == "odd":
        shutil.rmtree(root / "mirror")
        (root / "mirror").mkdir()
        Image.fromarray(photo(3)).resize((33, 16)).save(root / "mirror" / "3.png")
    if what == "one concept":
        return root / "mirror"
    if what == "few concepts":
        for concept in CONCEPTS[2:]:
            shutil.rmtree(root / concept)
    if what == "same prompt":
        (root / "dark" / "prompt.txt").write_text("mirror")
    return root


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("count", r"mirror/source/3\.png has no partner in .*mirror/target \(6 files in source/, 5 in target/"),
        ("name", r"mirror/source/3\.png has no partner in .*mirror/target"),
        ("size", r"mirror/target/3\.png: 20 x 20 px, but its source .*source/3\.png has 16 x 16"),
        ("truncated", r"mirror/target/3\.png: cannot be decoded"),
        ("no target", r"mirror/target is missing"),
        ("tiny", r"mirror/source/3\.png: a photo of 6 x 6 px is too small"),
        ("two of a name", r"3\.bmp and .*3\.png have one name"),
        ("few", r"mirror: 3 distinct pairs leave .* add pairs \(6 at least\)"),
        ("not A|B", r"mirror/3\.png: 40 x 30 px are not two squares side by side.*editor\.layout=ab"),
        ("odd", r"mirror/3\.png: 33 px wide"),
        ("one concept", r"mirror holds one concept; give each concept a folder"),
        ("few concepts", r"2 concept\(s\) found, and the splits need 4 .*add 2 more"),
        ("same prompt", r"dark and mirror of .* have one prompt, 'mirror'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, what, said):
    premade = load(damaged(tmp_path / "pairs", what))
    with pytest.raises(DataError, match=said):
        [premade.fingerprint(concept) for concept in premade.concepts()]


@pytest.mark.parametrize(
    "options",
    [{}, {"root": "x", "dataset": {"name": "y"}}, {"root": "x", "layout": "stacked"}, {"root": "x", "test": 1}],
)
def test_options_that_make_no_sense_are_named(options):
    with pytest.raises(DataError, match=r"editor\.|photos\."):
        PremadePairs(**options)


def png(image: np.ndarray) -> bytes:
    stream = BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def parquet(file: Path, stored: str, photos: int = 7) -> Path:
    """InstructPix2Pix's columns; images as struct of bytes (what datasets writes) or plain bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [(c, photo(n), edited(c, photo(n))) for n in range(photos) for c in CONCEPTS]
    rows.append(("a prompt of one row", photo(0), photo(1)))

    def column(side: int) -> list:
        return [{"bytes": png(r[side]), "path": None} if stored == "struct" else png(r[side]) for r in rows]

    table = {"original_image": column(1), "edit_prompt": [r[0] for r in rows], "edited_image": column(2)}
    pq.write_table(pa.table(table | {"edited_prompt": ["x"] * len(rows)}), file)
    return file


COLUMNS = {"image": "original_image", "edited": "edited_image", "prompt": "edit_prompt"}


@pytest.mark.parametrize("stored", ["struct", "bytes"])
def test_a_parquet_file_is_read_once_grouped_by_prompt(tmp_path, stored):
    file = parquet(tmp_path / "pairs.parquet", stored)
    premade = PremadePairs(dataset={"name": str(file), "columns": COLUMNS}, size=SIDE, cache=tmp_path / "cache")
    prompts = {concept.prompt for concept in premade.concepts()}
    assert prompts == set(CONCEPTS)  # the prompt of one row is left out
    for concept in premade.concepts():
        made = premade.pairs({}, concept, Path())
        for part in PARTS:
            for source, target in zip(made.sources[part], made.targets[part], strict=True):
                image = source.permute(1, 2, 0).numpy()
                assert np.array_equal(target.permute(1, 2, 0).numpy(), edited(concept.prompt, image))
    record = json.loads((premade.root / "done.json").read_text())
    assert record == {"rows": 36, "concepts": 5, "left out": 1}


def test_a_capped_stream_ends_there_and_says_when_too_little_came(tmp_path):
    file = parquet(tmp_path / "pairs.parquet", "struct")
    with pytest.raises(DataError, match=r"of 5 prompts in 7 rows none has 6 pairs.*editor\.dataset\.limit \(7\)"):
        PremadePairs(dataset={"name": str(file), "columns": COLUMNS, "limit": 7}, cache=tmp_path / "cache")
    with pytest.raises(DataError, match=r"no column 'input_image' but original_image, .*editor\.dataset\.columns"):
        PremadePairs(
            dataset={"name": str(file), "columns": COLUMNS | {"image": "input_image"}}, cache=tmp_path / "cache"
        )
    assert not [path for path in (tmp_path / "cache").iterdir() if (path / "done.json").exists()]


def test_a_hub_data_set_without_a_network_is_named(tmp_path):
    with pytest.raises(MissingModel, match=r"owner/name is a hub data set.*local Parquet file"):
        PremadePairs(dataset={"name": "owner/name", "columns": COLUMNS}, cache=tmp_path)
    with pytest.raises(DataError, match=r"/no/such/file\.parquet: no such file"):
        PremadePairs(dataset={"name": "/no/such/file.parquet", "columns": COLUMNS}, cache=tmp_path)


def test_links_that_loop_and_pipes_are_no_trap(tmp_path):
    root = folders(tmp_path / "pairs")
    concept = next(root.iterdir())
    (concept / "source" / "again").symlink_to(concept)
    (concept / "target" / "again").symlink_to(root)
    assert load(root).concepts()
    aligned_root = aligned(tmp_path / "aligned")
    os.mkfifo(next(aligned_root.iterdir()) / "train" / "pipe.png")
    premade = load(aligned_root)
    (first, *_) = premade.concepts()
    with pytest.raises(DataError, match=r"pipe\.png: is no regular file"):
        premade.fingerprint(first)


def test_names_of_one_spelling_are_partners_however_they_are_encoded(tmp_path):
    root = folders(tmp_path / "pairs")
    concept = root / CONCEPTS[0]
    for side, form in (("source", "NFC"), ("target", "NFD")):
        file = concept / side / "0.png"
        file.rename(file.with_name(unicodedata.normalize(form, "caf\u00e9.png")))
    assert load(root).fingerprint(load(root).concepts()[0])


def test_a_pair_of_which_one_alone_is_turned_is_named(tmp_path):
    root = folders(tmp_path / "pairs")
    file = root / CONCEPTS[0] / "source" / "0.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(file).save(file, exif=exif)
    premade = load(root)
    (first, *_) = premade.concepts()
    with pytest.raises(DataError, match=r"0\.png: of it and its source .* one alone is turned by its EXIF orientation"):
        premade.fingerprint(first)
