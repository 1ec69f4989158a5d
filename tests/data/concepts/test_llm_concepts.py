"""Concepts from a chat model that misbehaves in every way a server can."""

import hashlib
import json
import re

import pytest
import torch

from tests.helpers.llm_server import chat, serving
from weightgen.data.concepts.collecting import ANSWERS, Answers
from weightgen.data.concepts.concept import Concept
from weightgen.data.concepts.llm import LlmConcepts
from weightgen.data.concepts.llm_client import Paraphrases, Prompts, read_answer
from weightgen.data.concepts.pool import Pool
from weightgen.errors import DataError
from weightgen.text.encoders import MiniLMTextEncoder, TextFeatures

KEY = "sk-never-write-this-1234"


class Words:
    """Prompts are alike as they share words: cosines known by hand."""

    name, dim, pooled_dim = "words", 1, 4096

    def encode(self, prompts, batch_size=64):
        pooled = torch.zeros(len(prompts), 4096)
        for row, prompt in enumerate(prompts):
            for word in prompt.lower().split():
                pooled[row, int(hashlib.sha256(word.encode()).hexdigest(), 16) % 4096] = 1
        pooled = torch.nn.functional.normalize(pooled, dim=1)
        return TextFeatures(pooled[:, None, :1], torch.ones(len(prompts), 1, dtype=torch.bool), pooled)


def source(base_url, **options):
    given = {"categories": ["first kind", "second kind"], "count": 12, "batch": 6, "paraphrases": 0, "timeout": 5.0}
    return LlmConcepts("m", base_url=base_url, encoder=Words(), **(given | options))


def prompts(*words):
    return json.dumps({"prompts": list(words)})


def looks(question, count=6):
    """Prompts without a word in common, different ones for each category and each time."""
    kind = re.search(r"of the kind: (\w+)", question).group(1)
    known = question.count(f"{kind}-")
    return prompts(*(f"{kind}-{known + i}" for i in range(count)))


def collected(tmp_path, reply, **options):
    with serving(reply) as server:
        llm = source(server.base_url, **options)
        metrics = llm.collect(tmp_path)
    return server, llm.load(tmp_path), metrics


def test_categories_are_asked_in_turn_up_to_the_cap(tmp_path):
    server, concepts, metrics = collected(tmp_path, lambda n, q: looks(q))
    assert len(server.requests) == 2
    assert [c.prompt for c in concepts] == [f"{kind}-{i}" for kind in ("first", "second") for i in range(6)]
    assert metrics["concepts"] == 12
    assert {c.split for c in concepts} == {"train", "validation", "unseen_combination", "unseen_factor"}
    assert server.requests[0]["model"] == "m"
    schema = server.requests[0]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["prompts"]["items"] == {"type": "string"}


def test_a_server_that_always_says_the_same_ends(tmp_path):
    server, concepts, metrics = collected(tmp_path, lambda n, q: prompts(*"abcdef"))
    assert [c.prompt for c in concepts] == list("abcdef")
    assert len(server.requests) == 5  # the six, then each category twice in vain
    assert metrics["duplicates"] == 24


def test_bad_answers_cost_a_retry_and_nothing_else(tmp_path):
    script = [
        '{"prompts": ["half',
        looks,
        500,
        "Sure! Here are some:\n1. oil",
        looks,
        b'{"choices": []}',
        b"not json",
        looks,
    ]

    def reply(n, question):
        answer = script[n] if n < len(script) else looks
        return answer(question, 3) if callable(answer) else answer

    _, concepts, metrics = collected(tmp_path, reply, count=9)
    assert len(concepts) == 9
    assert metrics["bad_answers"] == 4
    assert all(re.fullmatch(r"(first|second)-\d", c.prompt) for c in concepts)


def test_silence_is_waited_out_and_tried_again(tmp_path):
    server, concepts, _ = collected(tmp_path, lambda n, q: 1.0 if n == 0 else looks(q), timeout=0.4, retries=2)
    assert len(concepts) == 12
    assert len(server.requests) == 3


def test_poisonous_prompts_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    poison = ["", "   ", "x" * 10_000, "two\nlines", "null\0", "lone \ud800", "\x1b[31mred", f"look {KEY}"]
    good = ["../../etc/passwd", "a/b\\c", "水墨画", " Batik ", "zombie's"]
    server, concepts, metrics = collected(tmp_path, lambda n, q: prompts(*poison, *good), batch=20, count=40)
    assert [c.prompt for c in concepts] == [prompt.strip() for prompt in good]
    assert all(re.fullmatch(r"[a-z0-9-]+", c.name) for c in concepts)
    assert metrics["refused"] == 8 * len(server.requests)
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert KEY not in "".join(path.read_text() for path in tmp_path.iterdir())


def test_garbage_alone_gives_up_with_what_was_said(tmp_path):
    with serving(lambda n, q: "I cannot help with that") as server:
        with pytest.raises(DataError, match=r"not.*JSON|no answer in the JSON"):
            source(server.base_url).collect(tmp_path)
        assert len(server.requests) == 8  # 4 questions, each once more
    assert not (tmp_path / "concepts.json").exists()


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "export OPENAI_API_KEY"), (404, r"concepts\.model"), (400, "refuses the question"), (503, "run the same")],
)
def test_a_refusing_server_is_named_with_the_remedy_and_never_the_key(tmp_path, monkeypatch, status, said):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving(lambda n, q: status) as server:  # it echoes the key
        with pytest.raises(DataError, match=said) as error:
            source(server.base_url, retries=1).collect(tmp_path)
    assert server.base_url in str(error.value)
    assert KEY not in str(error.value)


def test_no_server_is_named_with_the_offline_options(tmp_path):
    with serving(lambda n, q: 500) as server:
        pass
    with pytest.raises(DataError, match=r"127\.0\.0\.1.*concepts=file"):
        source(server.base_url, retries=0).collect(tmp_path)


def test_response_format_is_left_out_where_it_is_not_known(tmp_path):
    with serving(lambda n, q: 400 if "response_format" in server.requests[n] else looks(q)) as server:
        source(server.base_url).collect(tmp_path)
        assert [("response_format" in request) for request in server.requests] == [True, False, False]


def test_an_interrupted_collection_asks_only_for_what_is_missing(tmp_path):
    with serving(lambda n, q: looks(q) if n == 0 else 503) as server:
        with pytest.raises(DataError, match="run the same command again"):
            source(server.base_url, retries=0).collect(tmp_path)
    with (tmp_path / ANSWERS).open("a") as stream:
        stream.write('{"kind": "prompts", "cat')  # killed while writing
    server, concepts, _ = collected(tmp_path, lambda n, q: looks(q))
    assert len(server.requests) == 1
    assert "second kind" in server.questions[0]
    assert [c.prompt for c in concepts][:6] == [f"first-{i}" for i in range(6)]
    assert len(concepts) == 12


def test_paraphrases_stay_with_the_prompt_they_are_nearest_to(tmp_path):
    said = {
        "first-0": ["first-0 again", "second-1 stolen"],
        "second-1": ["second-1", "FIRST-0", "second-1 too", "x" * 2000],
    }

    def reply(n, question):
        if not question.startswith("For each"):
            return looks(question)
        rows = [{"prompt": p, "paraphrases": ways} for p, ways in said.items()]
        return json.dumps({"paraphrases": [*rows, {"prompt": "unheard of", "paraphrases": ["y"]}]})

    _, concepts, metrics = collected(tmp_path, reply, paraphrases=2)
    by_prompt = {c.prompt: c.paraphrases for c in concepts}
    assert by_prompt.pop("first-0") == ("first-0 again",)
    assert by_prompt.pop("second-1") == ("second-1 too",)
    assert set(by_prompt.values()) == {()}
    assert metrics["paraphrases"] == 2


def test_too_few_concepts_are_not_kept_and_a_few_are_shared_out(tmp_path):
    with serving(lambda n, q: prompts("one")) as server:
        with pytest.raises(DataError, match="1 concepts cannot fill train"):
            source(server.base_url).collect(tmp_path)
    assert not (tmp_path / "concepts.json").exists()
    _, few, _ = collected(tmp_path, lambda n, q: prompts("one", "two", "three"))
    assert sorted(c.split for c in few) == ["train", "train", "unseen_combination"]


def test_other_splits_ask_nothing_anew_and_the_key_names_no_place(tmp_path):
    _, _, _ = collected(tmp_path, lambda n, q: looks(q))
    elsewhere = source("http://elsewhere/v1", splits={"validation": 0.3}, api_key_env="OTHER", timeout=1.0)
    assert elsewhere.identity() == source("http://here/v1").identity()
    assert {c.split for c in elsewhere.load(tmp_path)} == {"train", "validation"}
    assert all(isinstance(c, Concept) for c in elsewhere.load(tmp_path))
    for change in ({"count": 13}, {"collection": 1}, {"similarity": 0.8}, {"categories": ["one"]}):
        assert source(None, **change).identity() != source(None).identity()


def test_prompts_of_one_meaning_are_one():
    pool = Pool(MiniLMTextEncoder(max_length=24), ["any"], 0.9, 10, 2)
    pool.add("any", ["Silver sculpture", "A sculpture made of silver", "Bronze sculpture", "zombie", "Zombie"], 9, 0)
    pool.add("any", ["oil painting in sepia tones", "painted in oils, sepia toned", "zombies", "Batik"], 9, 0)
    kept = ["Silver sculpture", "Bronze sculpture", "zombie", "oil painting in sepia tones", "Batik"]
    assert pool.prompts == kept
    assert pool.duplicates == 4


@pytest.mark.parametrize(
    "text",
    [
        '{"prompts": ["a", "b"]}',
        '["a", "b"]',
        '{"concepts": ["a", "b"]}',
        '```json\n{"prompts": ["a", "b"]}\n```',
        '{"prompts": [{"prompt": "a", "name": "x"}, {"style": "b"}]}',
    ],
)
def test_forms_that_count_as_an_answer(text):
    assert read_answer(text, Prompts).prompts == ["a", "b"]


@pytest.mark.parametrize(
    "text", ["", "a, b", "{}", '{"prompts": []}', '{"prompts": "a"}', '{"prompts": [1]}', '{"a": ["x"], "b": []}', None]
)
def test_forms_that_do_not(text):
    with pytest.raises(ValueError, match=r".*"):
        read_answer(text, Prompts)


def test_paraphrases_are_read_strictly():
    good = '{"paraphrases": [{"prompt": "a", "paraphrases": ["b"]}]}'
    assert read_answer(good, Paraphrases).paraphrases[0].paraphrases == ["b"]
    with pytest.raises(ValueError, match="paraphrases"):
        read_answer('{"paraphrases": [{"prompt": "a", "others": ["b"]}]}', Paraphrases)
    assert b"chat.completion" in chat("x")


@pytest.mark.parametrize(
    "options", [{"count": 0}, {"categories": []}, {"similarity": 0}, {"paraphrases": -1}, {"batch": 0}]
)
def test_bad_options_are_named(options):
    with pytest.raises(DataError, match=next(iter(options))):
        source(None, **options)


@pytest.mark.parametrize("line", [b"{", b"\0\0\0", b"[]", b'{"kind": "prompts"}', b"[" * 100_000, b'{"kind": "x"}'])
def test_a_damaged_line_of_answers_is_left_out_with_a_warning(tmp_path, caplog, line):
    good = {"kind": "prompts", "category": "c", "asked": 1, "prompts": ["Batik"], "refused": 0}
    path = tmp_path / "answers.jsonl"
    path.write_bytes(json.dumps(good).encode() + b"\n" + line + b"\n" + json.dumps(good).encode() + b"\n")
    with caplog.at_level("WARNING"):
        assert Answers(path).lines == [good, good]
    assert "1 damaged lines are left out" in caplog.text
