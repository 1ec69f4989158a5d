import math

import pytest

from weightgen.errors import DataError
from weightgen.evaluation.results import RESULT_COLUMNS, read_results, write_results, write_table


def _row(**changes):
    row = {
        "experiment": "demo",
        "base": "paper",
        "concept": "mosaic-sepia",
        "prompt": 'a "mosaic", in\nsepia, 猫',
        "split": "unseen_factor",
        "method": "generated",
        "seed": 1,
        "step": 20,
        "train_seconds": 0.1 + 0.2,
        "fid": 1 / 3,
        "kid": -1e-7,
        "l1": 0.25,
        "feature_set": "efficientnet_lite0",
        "device": "cpu",
        "perceptual": 0.5,
        "mmd": 0.25,
        "collapsed": 0.0,
    }
    return {**row, **changes}


def test_the_columns_are_the_agreed_ones():
    assert ",".join(RESULT_COLUMNS) == (
        "experiment,base,concept,prompt,split,method,seed,step,train_seconds,fid,kid,l1,feature_set,device,perceptual,"
        "mmd,collapsed"
    )


def test_round_trip_is_exact(tmp_path):
    rows = [_row(), _row(seed=2, fid=math.pi * 1e10)]
    write_results(tmp_path / "new" / "results.csv", rows)
    assert read_results(tmp_path / "new" / "results.csv") == rows


@pytest.mark.parametrize("metric", ["perceptual", "mmd", "collapsed"])
def test_what_earlier_tables_lack_may_be_unmeasured(tmp_path, metric):
    row = _row()
    del row[metric]
    write_results(tmp_path / "r.csv", [row])
    assert math.isnan(read_results(tmp_path / "r.csv")[0][metric])


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "t.csv"
    write_table(path, ("a", "b"), [{"a": 1, "b": None}])
    with pytest.raises(DataError, match="columns"):
        write_table(path, ("a", "b"), [{"a": 1, "b": 2}, {"a": 3}])
    assert path.read_text() == "a,b\n1,\n"
    assert list(tmp_path.iterdir()) == [path]


def test_bad_rows_are_named(tmp_path):
    path = tmp_path / "r.csv"
    with pytest.raises(DataError, match="prompt"):
        write_results(path, [{k: v for k, v in _row().items() if k != "prompt"}])
    with pytest.raises(DataError, match="colour"):
        write_results(path, [_row(colour="red")])
    write_results(path, [_row()])
    path.write_text(path.read_text().replace(",20,", ",twenty,"))
    with pytest.raises(DataError, match=r"line 2: step is 'twenty'"):
        read_results(path)


def test_a_cut_or_absent_file_is_named(tmp_path):
    path = tmp_path / "r.csv"
    with pytest.raises(DataError, match="does not exist"):
        read_results(path)
    write_results(path, [_row(), _row(seed=2)])
    path.write_text(path.read_text()[:-40])
    with pytest.raises(DataError, match="line 3"):
        read_results(path)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\x01binary", b'a,b\n"open', b"a\x00,b\n1,2\n"])
def test_a_file_that_is_no_table_is_named(tmp_path, content):
    (tmp_path / "results.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"results\.csv"):
        read_results(tmp_path / "results.csv")
