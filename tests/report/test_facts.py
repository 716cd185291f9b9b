import pytest

from reliquant.files.artifacts import DamagedFile
from reliquant.report.facts import require_facts, require_study

FACTS = {
    "study": "s",
    "title": "t",
    "note": "",
    "config": "",
    "models": {},
    "datasets": {},
    "versions": {"python": "3"},
}


def test_a_word_that_a_report_needs_is_told_with_its_place():
    require_facts(FACTS, "facts.json")
    with pytest.raises(DamagedFile, match=r"facts\.json: has no 'note'"):
        require_facts({word: value for word, value in FACTS.items() if word != "note"}, "facts.json")
    with pytest.raises(DamagedFile, match=r"facts\.json: models: vit has no 'source'"):
        require_facts({**FACTS, "models": {"vit": {}}}, "facts.json")
    sets = {"x": {"n": True, "classes": 2, "entry": {}}}
    with pytest.raises(DamagedFile, match=r"datasets: x .* 'n' must be a whole number, not true"):
        require_facts({**FACTS, "datasets": sets}, "facts.json")


def test_rows_of_another_study_than_the_facts_are_refused():
    require_study(["mine", "another"], {"study": "mine"}, "rows.parquet", "facts.json")
    require_study([], {"study": "mine"}, "rows.parquet", "facts.json")
    with pytest.raises(DamagedFile, match=r"rows\.parquet: is of the study another, and facts\.json of mine: one of"):
        require_study(["another"], {"study": "mine"}, "rows.parquet", "facts.json")
