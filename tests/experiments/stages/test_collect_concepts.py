"""`concepts=llm` through the apps: killed and resumed, asked once, and its key in no file."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.command.api_key import hide_api_key, require_no_secret
from experiments.pipeline.build import Pipeline
from experiments.reports.gather import public_yaml
from tests.helpers.apps import ROOT, Runs, nothing_half_written, one_line_error
from tests.helpers.configs import composed
from tests.helpers.llm_server import LlmServer, serving
from weightgen.data.concepts.files import FileConcepts
from weightgen.data.concepts.vocabulary import MEDIA, PALETTES
from weightgen.errors import MissingArtifact, WeightgenError

KEY, OTHER = "sk-of-the-command-line-42", "sk-of-the-environment-77"
PROMPTS = [f"{medium.phrase} {palette.phrase}" for medium, palette in zip(MEDIA, PALETTES, strict=False)]
CATEGORIES = ["one", "two", "three"]


def looks(number: int, question: str) -> str:
    """Four grammar prompts of each category; a paraphrase of each."""
    if question.startswith("For each"):
        asked = json.loads(question.partition("The descriptions: ")[2])
        return json.dumps({"paraphrases": [{"prompt": p, "paraphrases": [f"a {p} picture"]} for p in asked]})
    kind = CATEGORIES.index(re.search(r"of the kind: (\w+)", question).group(1))
    return json.dumps({"prompts": PROMPTS[4 * kind : 4 * kind + 4]})


def options(server: LlmServer) -> list[str]:
    return [
        "concepts=llm",
        f"concepts.base_url={server.base_url}",
        f"concepts.categories=[{','.join(CATEGORIES)}]",
        "concepts.count=12",
        "concepts.paraphrases=1",
    ]


def files_with(folder: Path, secret: str) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file() and secret.encode() in p.read_bytes()]


def test_collected_once_killed_in_between_and_the_key_is_nowhere(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    environment = os.environ | {"OPENAI_API_KEY": OTHER}

    def killing(number: int, question: str) -> str:
        if number == 2:
            client = [int(pid) for pid in (tmp_path / "pid").read_text().split()]
            os.kill(client[0], signal.SIGKILL)
        return looks(number, question)

    start = (
        "import os, sys, pathlib; pathlib.Path(sys.argv.pop(1)).write_text(str(os.getpid())); "
        "from experiments.collect_concepts import main; sys.argv[0] = 'collect_concepts'; main()"
    )
    with serving(killing) as server:
        paths = [f"paths.artifacts={tmp_path}/artifacts", f"hydra.run.dir={tmp_path}/outputs/killed"]
        command = [sys.executable, "-c", start, tmp_path / "pid", "experiment=smoke", *paths, *options(server)]
        killed = subprocess.run(
            [*map(str, command), f"concepts.api_key={KEY}"],
            cwd=ROOT,
            env=environment | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert len(server.requests) == 3
        assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    with serving(looks) as server:
        runs("collect_concepts", *options(server), env=environment)
        asked = [re.search(r"of the kind: (\w+)", q) for q in server.questions]
        assert [match and match.group(1) for match in asked] == ["three", None]  # then the paraphrases
        assert server.headers[0]["authorization"] == f"Bearer {OTHER}"
    table = tmp_path / "reports" / "smoke" / "concepts.csv"
    assert [c.prompt for c in FileConcepts(table).load()] == PROMPTS[:12]
    # the server is gone: later stages read the list; W&B is on, offline
    runs("train_base", *options(server), f"+concepts.api_key={KEY}", env=environment)
    assert list((tmp_path / "wandb").rglob("*.wandb"))
    assert list((tmp_path / "outputs").rglob("overrides.yaml"))
    for secret in (KEY, OTHER):
        assert files_with(tmp_path, secret) == []


def test_a_free_prompt_and_the_procedural_editor_name_prompt_and_editors(tmp_path: Path) -> None:
    with serving(lambda n, q: json.dumps({"prompts": [*PROMPTS[:6], "a zombie/at a bus stop"]})) as server:
        given = [*options(server), "concepts.paraphrases=0", "strategy.workers=1"]
        result = Runs(tmp_path)("collect_pairs", *given, check=False)
    one_line_error(result, "a zombie/at a bus stop", "editor=instruct_pix2pix", "premade")


def test_a_key_inside_the_configuration_ends_the_run_before_it_is_written(tmp_path: Path) -> None:
    recipe = tmp_path / "conf" / "secret" / "key.yaml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(f"# @package concepts\napi_key: {KEY}\n")
    given = [f"hydra.searchpath=[file://{tmp_path}/conf]", "+secret=key"]
    result = Runs(tmp_path)("collect_concepts", "concepts=llm", *given, check=False)
    one_line_error(result, "concepts.api_key_env=OPENAI_API_KEY")
    assert KEY not in result.stdout + result.stderr
    nothing_half_written(tmp_path)
    assert files_with(tmp_path, KEY) == [recipe]


@pytest.mark.parametrize(
    "given",
    [
        f"concepts.base_url=http://me:{KEY}@127.0.0.1/v1",
        f"concepts.base_url='http://127.0.0.1/v1?api_key={KEY}'",
        f"concepts.api_key_env={KEY}",
        f"+api_key={KEY}",
    ],
)
def test_no_option_may_hold_a_key(given: str) -> None:
    with pytest.raises(WeightgenError, match=r"concepts\.api_key_env=OPENAI_API_KEY") as refused:
        require_no_secret(composed("concepts=llm", given))
    assert KEY not in str(refused.value)


def test_the_key_moves_from_the_command_line_into_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIGHTGEN_API_KEY", "")
    given = ["-m", f"+concepts.api_key='{KEY}'", "concepts.count=3"]
    assert hide_api_key(given) == ["-m", "concepts.api_key_env=WEIGHTGEN_API_KEY", "concepts.count=3"]
    assert os.environ["WEIGHTGEN_API_KEY"] == KEY
    assert hide_api_key(["concepts.api_key=${oc.env:MY_KEY}"]) == ["concepts.api_key_env=MY_KEY"]


def test_without_building_a_missing_list_names_its_target(tmp_path: Path) -> None:
    p = Pipeline(composed("concepts=llm", "build_missing=false", f"paths.artifacts={tmp_path}"))
    with pytest.raises(MissingArtifact, match="make concepts"):
        _ = p.concepts
    assert Pipeline(composed("concepts=llm", "concepts.base_url=http://other/v1")).collected.key == p.collected.key
    assert Pipeline(composed("concepts=llm", "concepts.count=7")).collected.key != p.collected.key


def test_a_password_in_the_environments_address_is_in_no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"https://me:{KEY}@host/v1?api_key={KEY}")
    text = public_yaml(composed("concepts=llm"))
    assert KEY not in text
    assert "base_url: https://host/v1" in text


def test_nobody_is_asked_where_the_editor_brings_its_own_concepts(tmp_path: Path) -> None:
    given = ["concepts=llm", "editor=premade", f"editor.root={tmp_path}", f"paths.artifacts={tmp_path}/a"]
    assert Pipeline(composed(*given)).collected is None
