import pytest

from reliquant.artifacts import DamagedFile
from reliquant.report.facts import require_facts

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
