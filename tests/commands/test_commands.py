"""`weightgen` as a person types it: what it writes, what it says, how it ends."""

import io
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.helpers.apps import ROOT
from tests.helpers.tiny_generator import PROMPTS, tiny_generator
from weightgen.commands.parser import parser, shares
from weightgen.data.concepts.concept import slug
from weightgen.generation.generator import WeightGenerator
from weightgen.generation.translator import Translator

SKETCH, OIL, _ = PROMPTS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of a saved tiny generator."""
    place = tmp_path_factory.mktemp("commands") / "generator"
    tiny_generator().save(place)
    return place


@pytest.fixture
def weightgen(folder, tmp_path, monkeypatch, capsys):
    """weightgen(*words) -> (exit code, standard error), in a folder of its own."""
    from experiments import console

    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()

    def call(*words: str) -> tuple[int, str]:
        given = [str(word) for word in words]
        command = (
            [*given, "--generator", str(folder)] if given[0] not in ("info", "run") and given[-1] != "--help" else given
        )
        monkeypatch.setattr(sys, "argv", ["weightgen", *command])
        with pytest.raises(SystemExit) as ended:
            console.main()
        return ended.value.code, capsys.readouterr().err

    yield call
    torch.set_num_threads(threads)


def photo(path, size=(40, 30), mode="RGB", seed=0, **options):
    """A photo file; -> its RGB pixels as an image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    image = Image.fromarray(values[..., 0] if channels == 1 else values, mode)
    image.save(path, **options)
    return image


def test_one_photo_becomes_one_picture_of_its_size(weightgen, folder, tmp_path):
    photo(tmp_path / "photo.png")
    assert weightgen("translate", "photo.png", "--prompt", SKETCH, "--out", "out.png") == (
        0,
        "1 of 1 photos translated: out.png\n",
    )
    wanted = WeightGenerator.load(folder)(SKETCH).plain()(tmp_path / "photo.png")
    assert (np.asarray(Image.open("out.png")) == np.asarray(wanted)).all()
    code, _ = weightgen("translate", "photo.png", "--prompt", OIL, "--out", "out.png")  # another prompt: drawn anew
    assert code == 0
    assert (np.asarray(Image.open("out.png")) != np.asarray(wanted)).any()
    weightgen("translate", "photo.png", "--prompt", SKETCH)
    assert (tmp_path / f"photo-{slug(SKETCH)}.png").exists()


def test_a_folder_keeps_its_tree_and_is_gone_on_with(weightgen, tmp_path):
    photo(tmp_path / "in" / "a.jpg")
    photo(tmp_path / "in" / "deep" / "b.PNG", seed=1)
    photo(tmp_path / "in" / "deep" / "c.bmp", seed=2)
    command = ("translate", "in", "--prompt", SKETCH, "--out", "out")
    code, said = weightgen(*command)
    assert (code, "3 of 3 photos translated" in said) == (0, True)
    out = tmp_path / "out"
    results = {path.relative_to(out).as_posix() for path in out.rglob("*.*") if path.name[0] != "."}
    assert results == {"a.jpg", "deep/b.PNG", "deep/c.bmp.png"}
    kept = (tmp_path / "out" / "a.jpg").stat().st_mtime_ns
    (tmp_path / "out" / "deep" / "b.PNG").unlink()
    assert "1 of 3 photos translated, 2 were there" in weightgen(*command)[1]
    assert (tmp_path / "out" / "a.jpg").stat().st_mtime_ns == kept
    code, said = weightgen("translate", "in", "--prompt", OIL, "--out", "out")
    assert (code, f"holds pictures of other weights ({SKETCH!r})" in said) == (1, True)


def test_several_prompts_are_several_folders_and_shares_are_one_mixture(weightgen, tmp_path):
    photo(tmp_path / "a.png")
    assert weightgen("translate", "a.png", "--prompt", SKETCH, "--prompt", OIL, "--out", "out")[0] == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == {slug(SKETCH), slug(OIL)}
    assert (
        weightgen("translate", "a.png", "--prompt", f"{SKETCH}:0.7", "--prompt", f"{OIL}:0.3", "--out", "m.png")[0] == 0
    )
    code, said = weightgen("translate", "a.png", "--prompt", f"{SKETCH}:0.7", "--prompt", OIL, "--out", "n.png")
    assert (code, "a share" in said) == (1, True)
    assert shares(["a: b", "c"]) == ["a: b", "c"]
    assert shares(["a:0.5", "b:2"]) == [{"a": 0.5, "b": 2.0}]


@pytest.mark.parametrize(
    ("name", "mode", "size"),
    [
        ("cmyk.jpg", "CMYK", (33, 20)),
        ("grey.png", "L", (20, 33)),
        ("dot.png", "RGB", (1, 1)),
        ("long.png", "RGB", (700, 40)),
    ],
)
def test_photos_of_any_kind_and_size(weightgen, tmp_path, name, mode, size):
    photo(tmp_path / name, size, mode)
    assert weightgen("translate", name, "--prompt", SKETCH, "--out", "out.png")[0] == 0
    assert Image.open("out.png").size == size


def test_transparency_stays_and_orientation_profile_and_place_are_as_documented(weightgen, tmp_path):
    see_through = photo(tmp_path / "alpha.png", mode="RGBA")
    weightgen("translate", "alpha.png", "--prompt", SKETCH, "--out", "out.png")
    assert (np.asarray(Image.open("out.png").getchannel("A")) == np.asarray(see_through.getchannel("A"))).all()
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = 6, "somebody"  # turned by a quarter; an author
    photo(tmp_path / "turned.jpg", (40, 30), exif=exif, icc_profile=b"a profile")
    weightgen("translate", "turned.jpg", "--prompt", SKETCH, "--out", "turned-out.jpg")
    result = Image.open("turned-out.jpg")
    assert (result.size, result.info.get("icc_profile"), dict(result.getexif())) == ((30, 40), b"a profile", {})


def test_animations_give_their_first_frame_and_16_bits_8(weightgen, tmp_path):
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "still.png")
    deep = np.random.default_rng(0).integers(0, 256, (20, 20), dtype=np.uint16)
    Image.fromarray(deep * 257).save(tmp_path / "deep.png")
    Image.fromarray(deep.astype(np.uint8)).save(tmp_path / "shallow.png")
    for one, other in (("moving.gif", "still.png"), ("deep.png", "shallow.png")):
        for name in (one, other):
            weightgen("translate", name, "--prompt", SKETCH, "--out", f"{name}.out.png")
        assert (np.asarray(Image.open(f"{one}.out.png")) == np.asarray(Image.open(f"{other}.out.png"))).all()


def test_a_photo_that_cannot_be_read_is_left_out_and_said(weightgen, tmp_path):
    photo(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_bytes(b"no picture")
    code, said = weightgen("translate", "in", "--prompt", SKETCH, "--out", "out")
    assert code == 1
    assert "left out: in/b.png: cannot be decoded" in said
    assert "1 of 2 photos translated" in said


def test_standard_input_and_output(folder, tmp_path):
    photo(tmp_path / "a.png")
    command = [
        sys.executable,
        "-m",
        "experiments.console",
        "translate",
        "-",
        "--prompt",
        SKETCH,
        "--generator",
        str(folder),
    ]
    given = (tmp_path / "a.png").read_bytes()
    result = subprocess.run([*command, "--out", "-"], input=given, capture_output=True, cwd=ROOT, timeout=300)
    assert result.returncode == 0, result.stderr.decode()
    wanted = WeightGenerator.load(folder)(SKETCH)(tmp_path / "a.png")
    assert (np.asarray(Image.open(io.BytesIO(result.stdout))) == np.asarray(wanted)).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["translate", "absent.png", "--prompt", SKETCH], "absent.png: there is no such photo"),
        (["translate", "empty", "--prompt", SKETCH], "empty holds no photos"),
        (["translate", "a.png"], "say what to make of the photos"),
        (["translate", "a.png", "--prompt", " "], "the prompt is blank"),
        (["translate", "a.png", "--prompt", SKETCH, "--strength", "2"], "--strength=2.0: from 0.0 to 1.5"),
        (["translate", "a.png", "--prompt", SKETCH, "--strength", "nan"], "--strength=nan"),
        (["translate", "a.png", "--prompt", SKETCH, "--out", "a.png"], "is the photo itself"),
        (["translate", "full", "--prompt", SKETCH, "--out", "full/out"], "lies within full"),
        (["translate", "full", "--prompt", SKETCH, "--out", "a.png"], "is a file"),
        (["translate", "full", "--prompt", SKETCH, "--out", "empty2"], "is not empty, and not of this command"),
        (["translate", "a.png", "--prompt", SKETCH, "--like", "empty"], "empty holds no pairs"),
        (["translate", "a.png", "--prompt", SKETCH, "--threads", "0"], "--threads=0: 1 or more"),
        (["translate", "-", "a.png", "--prompt", SKETCH], "give nothing beside it"),
        (["translate", "a.png", "--prompt", SKETCH, "--translator", "empty"], "leave --prompt out"),
        (["translate", "a.png", "--translator", "empty"], "empty holds no translator.json"),
        (["export", "--prompt", SKETCH, "--out", "o", "--format", "peft,word"], "--format=word: choose some of"),
        (["adapt", "--prompt", SKETCH, "--pairs", "nowhere", "--out", "o"], "no such folder of pairs"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_writes_nothing(weightgen, tmp_path, words, message):
    photo(tmp_path / "a.png")
    photo(tmp_path / "full" / "a.png")
    photo(tmp_path / "empty2" / "other.png")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    code, said = weightgen(*words)
    assert code == 1
    assert said.startswith("error: ")
    assert (message in said, said.count("\n")) == (True, 1)
    assert sorted(tmp_path.rglob("*")) == before


def test_generate_export_and_adapt_write_what_loads_again(weightgen, folder, tmp_path):
    assert weightgen("generate", "--prompt", SKETCH, "--out", "made")[0] == 0
    image = torch.randint(0, 256, (1, 3, 20, 20), dtype=torch.uint8)
    own = WeightGenerator.load(folder)(SKETCH)
    assert (Translator.load("made")(image).int() - own(image).int()).abs().max() <= 1
    assert weightgen("export", "--prompt", SKETCH, "--out", "exports", "--format", "peft,merged")[0] == 0
    assert set(load_file("exports/peft/adapter_model.safetensors"))
    for side, seed in (("before", 0), ("after", 1)):
        photo(tmp_path / "pairs" / side / "1.png", (32, 32), seed=seed)
    command = ("adapt", "--prompt", "something new", "--pairs", "pairs", "--steps", "2", "--out", "adapted")
    code, said = weightgen(*command)
    assert code == 0
    assert "warning: the weight generator never saw 'new', 'something'" in said
    photo(tmp_path / "a.png")
    assert weightgen("translate", "a.png", "--translator", "adapted", "--out", "o.png")[0] == 0


def test_look_is_a_sheet_of_prompts_by_photos(weightgen, tmp_path):
    photo(tmp_path / "a.png")
    assert weightgen("look", "a.png", "--prompt", SKETCH, "--size", "32", "--out", "one.png")[0] == 0
    assert weightgen("look", "--size", "32")[0] == 0  # all that it knows, on the bundled photos
    one, all_of_it = Image.open("one.png").size, Image.open("look.png").size
    assert one[0] < all_of_it[0]
    assert one[1] < all_of_it[1]
    code, said = weightgen("look", "--size", "4")
    assert (code, "--size=4: from 16 to 2048" in said) == (1, True)
    code, said = weightgen("look", "--out", "sheet.txt")
    assert (code, "--out=sheet.txt: end it in .png" in said) == (1, True)


def test_two_photos_of_one_name_are_refused(weightgen, tmp_path):
    for folder in ("one", "two"):
        photo(tmp_path / folder / "a.png")
    code, said = weightgen("translate", "one", "two", "--prompt", SKETCH, "--out", "out")
    assert (code, "two photos would be out/a.png: translate them one folder at a time" in said) == (1, True)


def test_info_says_what_it_is_and_knows(folder, monkeypatch, capsys, tmp_path):
    from weightgen.commands.work import info

    assert info(parser().parse_args(["info", str(folder)])) == 0
    said = capsys.readouterr().out
    assert SKETCH in said
    assert "trained at 16 px" in said
    assert "words it knows: colours, ocean, oil, painting, pencil, sepia, sketch, tones" in said


def test_help_is_light_and_every_command_has_one():
    from experiments.command.console import COMMANDS, STAGES

    code = "import sys; sys.argv[1:] = ['--help']\nfrom experiments.console import main\n"
    code += "try: main()\nfinally: print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60).stdout
    assert "weightgen" in said
    assert not {"torch", "numpy", "hydra", "PIL"} & set(said.splitlines()[-1].split())
    listed = set(parser()._subparsers._group_actions[0].choices)
    assert listed == set(COMMANDS) | {"run"}
    assert all((ROOT / "experiments" / f"{app}.py").exists() for app in STAGES.values())


def test_run_is_the_app_of_a_stage(tmp_path):
    command = [sys.executable, "-m", "experiments.console", "run"]
    options = [
        "experiment=smoke",
        "+plan=true",
        f"paths.artifacts={tmp_path}/a",
        f"hydra.run.dir={tmp_path}/o",
        "logger=csv",
    ]
    ran = subprocess.run([*command, "evaluate", *options], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert (ran.returncode, "finetune" in ran.stdout) == (0, True), ran.stderr
    wrong = subprocess.run([*command, "nonsense"], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (wrong.returncode, wrong.stderr.startswith("error: there is no stage 'nonsense': choose ")) == (2, True)
    listed = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (listed.returncode, "stages: concepts, pairs" in listed.stdout) == (0, True)


def test_killed_half_way_and_run_again_nothing_is_done_twice_or_half_written(folder, tmp_path):
    for number in range(6):
        photo(tmp_path / "in" / f"{number}.png", (300, 300), seed=number)
    command = [sys.executable, "-m", "experiments.console", "translate", str(tmp_path / "in"), "--prompt", SKETCH]
    command += ["--generator", str(folder), "--out", str(tmp_path / "out"), "--threads", "1"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list((tmp_path / "out").glob("[0-9]*.png"))) < 2:
        time.sleep(0.01)
    process.kill()
    process.wait()
    first = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("[0-9]*.png")}
    assert len(first) >= 2
    for path in first:
        Image.open(path).load()
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0
    assert f"{6 - len(first)} of 6 photos translated, {len(first)} were there" in ran.stderr or len(first) == 6
    assert {path: path.stat().st_mtime_ns for path in first} == first
    shutil.rmtree(tmp_path / "out")
