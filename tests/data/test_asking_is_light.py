"""What a key asks of concepts, photos, editors and subsets costs no heavy import."""

import json
import subprocess
import sys

import pytest
from PIL import Image

HEAVY = ("torch", "torchvision", "diffusers", "transformers", "datasets", "openai", "sklearn", "matplotlib")
CASES = {
    "grammar": "from weightgen.data.concepts.grammar import GrammarConcepts as G; G(None, 4, 4, 4).load()",
    "list": "from weightgen.data.concepts.list import ListConcepts as L; L([dict(prompt='Batik', split='train')]).load()",
    "file": "from weightgen.data.concepts.files import FileConcepts as F; F('{root}/prompts.txt').load()",
    "llm": "from weightgen.data.concepts.llm import LlmConcepts as L; L('m', ['one']).identity()",
    "bundled": "from weightgen.data.photos.bundled import BundledPhotos as B; B(16, 1, 1, 1).fingerprint()",
    "folder": "from weightgen.data.photos.folder import FolderPhotos as F; F('{root}/photos', 16, 1, 1, 1).fingerprint()",
    "hub": "from weightgen.data.photos.hub import HubPhotos as H; H(16, 1, 1, 1, root='{root}/photos').fingerprint()",
    "torchvision": (
        "from weightgen.data.photos.torchvision_sets import TorchvisionPhotos as T; "
        "T('SUN397', '{root}', 16, 1, 1, 1).fingerprint()"
    ),
    "procedural": "from weightgen.data.editors.procedural.editor import ProceduralEditor as P; P().version",
    "diffusion": (
        "from weightgen.data.editors.diffusion.stable_diffusion import ImageToImageEditor as E; "
        "from weightgen.data.editors.diffusion.inversion import DdimInversionEditor; "
        "from weightgen.data.editors.diffusion.flux2_klein import Flux2KleinEditor; "
        "E.identity({{'model': 'someone/model', 'steps': 3}})"
    ),
    "subset": (
        "from weightgen.data.photos.subset import KMeansSubset as K; "
        "K(0.5, features=None).budget({{'steps': 4}}); K(0.5, features=None).concepts(4, 2)"
    ),
}
DECODES = {"list", "file"}  # the colours of free prompts are read from Pillow's table


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    (root / "prompts.txt").write_text("\n".join(f"look {i}" for i in range(9)))
    for folder in ("photos", "SUN397"):
        (root / folder).mkdir()
        Image.new("RGB", (40, 30), (9, 9, 9)).save(root / folder / "sun_0.jpg")
    return root


@pytest.mark.parametrize("case", CASES)
def test_nothing_heavy_is_imported(root, case):
    code = CASES[case].format(root=root)
    code += f"; import json, sys; print(json.dumps([m for m in {(*HEAVY, 'PIL')} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) <= ({"PIL"} if case in DECODES else set())


def test_premade_pairs_are_known_without_torch(tmp_path):
    for concept in range(5):
        for number in range(6):
            for side in ("source", "target"):
                place = tmp_path / "pairs" / f"look {concept}" / side
                place.mkdir(parents=True, exist_ok=True)
                colour = (40 * number, 30 * concept, 200 if side == "target" else 0)
                Image.new("RGB", (32, 32), colour).save(place / f"{number}.png")
    code = (
        "import sys; from weightgen.data.editors.premade.editor import PremadePairs as P; "
        f"p = P({str(tmp_path / 'pairs')!r}, size=16); print([p.fingerprint(c)[:1] != '' for c in p.concepts()]); "
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str([True] * 5), "[]"]
