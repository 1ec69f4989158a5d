"""Prompts from a file, in three forms, and what is wrong with a bad one."""

import pytest

from weightgen.data.concepts.concept import Concept, slug
from weightgen.data.concepts.files import FileConcepts
from weightgen.errors import DataError

LINES = ["Zombie", "a mosaic in sepia tones", "水墨画", "in/out: ../../etc", "Batik", "Grey hair"]


def load(tmp_path, name, text, **options):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return FileConcepts(tmp_path / name, **options).load()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_one_prompt_a_line(tmp_path, end):
    concepts = load(tmp_path, "prompts.txt", "\ufeff" + end.join([*LINES, "", "  "]))
    assert [c.prompt for c in concepts] == LINES
    assert [c.name for c in concepts] == [slug(line) for line in LINES]
    assert concepts[1].factors == (("medium", "mosaic"), ("palette", "sepia"))
    assert {c.split for c in concepts} == {"train", "validation", "unseen_combination", "unseen_factor"}


def test_json_lines_keep_what_they_name(tmp_path):
    rows = '"Zombie"\n{"prompt": "Batik", "name": "batik", "split": "train", "paraphrases": ["wax-dyed cloth"]}\n'
    zombie, batik, *_ = load(tmp_path, "p.jsonl", rows + "\n".join(f'"look {i}"' for i in range(4)))
    assert batik == Concept("batik", "Batik", "train", ("wax-dyed cloth",))
    assert zombie.prompt == "Zombie"


def test_csv_columns(tmp_path):
    text = 'name,prompt,split,paraphrases\nb,"Batik, dyed",train,wax-dyed cloth|resist-dyed\n,Zombie,validation,\n'
    assert load(tmp_path, "p.csv", text) == [
        Concept("b", "Batik, dyed", "train", ("wax-dyed cloth", "resist-dyed")),
        Concept(slug("Zombie"), "Zombie", "validation"),
    ]


def test_categories_are_held_out_whole(tmp_path):
    rows = "".join(f"look {i},kind {i % 10}\n" for i in range(100))
    concepts = load(tmp_path, "p.csv", "prompt,category\n" + rows)
    kinds = {int(c.prompt.split()[1]) % 10 for c in concepts if c.split == "unseen_factor"}
    assert kinds
    assert not kinds & {int(c.prompt.split()[1]) % 10 for c in concepts if c.split != "unseen_factor"}


def test_the_table_of_make_concepts_reads_back(tmp_path):
    from experiments.stages.concepts import write_table

    concepts = [Concept("a", 'says "hi", twice', "train", ("one", "two")), Concept("b", "水墨画", "unseen_factor")]
    write_table(concepts, tmp_path / "c.csv")
    assert FileConcepts(tmp_path / "c.csv").load() == concepts


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.txt", "\n \n", "holds no prompt"),
        ("p.txt", "a\nb\nc\nd\na", "line 5.*given twice, first in line 1"),
        ("p.txt", "ok\n" + "x" * 10_000, "line 2.*10000 characters"),
        ("p.txt", "ok\nnull\0", r"line 2.*U\+0000"),
        ("p.txt", "a\nb", "2 concepts cannot fill"),
        ("p.jsonl", '"ok"\n{"prompt": "half', "line 2: no JSON"),
        ("p.jsonl", '"ok"\n3', "line 2"),
        ("p.jsonl", '{"prompt": 3}', "line 1"),
        ("p.jsonl", '{"promt": "a"}', "promt"),
        ("p.jsonl", '{"prompt": "a", "paraphrases": "b"}', "line 1"),
        ("p.jsonl", '{"prompt": "a", "split": "test"}', "line 1.*test"),
        ("p.jsonl", '{"prompt": "a", "name": "../up", "split": "train"}', "line 1.*up"),
        ("p.csv", "promt\na\n", "one of them prompt"),
        ("p.csv", "name,split\na,train\n", "name the columns"),
        ("p.csv", "prompt,split\na,train,more\n", "too many columns"),
        ("p.csv", 'prompt,split\n"a,train\n', "no CSV"),
        ("p.csv", "prompt,split\n,train\n", "line 2.*blank"),
        ("p.csv", "", "holds no prompt|name the columns"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path, name, text, said):
    with pytest.raises(DataError, match=said) as error:
        load(tmp_path, name, text)
    assert name in str(error.value) or "cannot fill" in str(error.value)


def test_unreadable_files_are_named(tmp_path):
    (tmp_path / "p.txt").write_bytes(b"caf\xe9\n")
    for path, said in ((tmp_path / "p.txt", "UTF-8"), (tmp_path / "none.txt", "No such file"), (tmp_path, "directory")):
        with pytest.raises(DataError, match=rf"concepts\.path: .*{said}"):
            FileConcepts(path).load()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [("p.csv", 'prompt,"open\nBatik,x\n', "no CSV"), ("p.jsonl", "[" * 100_000 + "\n", "no JSON")],
)
def test_what_cannot_be_parsed_is_one_line(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=rf"{name}.*{said}") as error:
        FileConcepts(tmp_path / name).load()
    assert "\n" not in str(error.value)
