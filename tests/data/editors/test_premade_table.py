"""The user's table of premade concepts."""

import pytest

from weightgen.data.editors.premade.table import ConceptTable
from weightgen.errors import DataError


def test_a_csv_tells_prompts_and_splits(tmp_path):
    file = tmp_path / "concepts.csv"
    file.write_text("concept,prompt,split\noil,an oil painting,train\nink,,unseen_factor\n")
    told = ConceptTable.read(file)
    assert told.prompts == {"oil": "an oil painting"}
    assert told.splits == {"oil": "train", "ink": "unseen_factor"}
    file.write_text("concept,split\noil,train\noil,train\n")
    with pytest.raises(DataError, match="'oil' is there twice"):
        ConceptTable.read(file)
    file.write_text("name,split\noil,train\n")
    with pytest.raises(DataError, match="give columns concept"):
        ConceptTable.read(file)
    with pytest.raises(DataError, match=r"nowhere\.csv"):
        ConceptTable.read(tmp_path / "nowhere.csv")
