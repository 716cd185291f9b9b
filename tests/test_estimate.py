import pytest
import yaml

from reliquant.estimate import as_text, estimate
from reliquant.plugins import PACKAGE
from reliquant.study import Study

ROOT = PACKAGE.parents[1]
PETS = {"dataset": "huggingface", "repo": "somebody/pets", "revision": "0" * 40, "files": ["data/test.parquet"]}


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """Return what the lab's study with one more clean dataset takes, in a folder without data."""
    monkeypatch.chdir(tmp_path)

    def plan(entry):
        config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
        config.pop("explain", None)
        config["datasets"]["mine"] = entry
        config["suites"]["clean"] = [*config["suites"]["clean"], "mine"]
        return estimate(Study(config))

    return plan


def test_a_dataset_whose_sources_depend_on_its_words_is_planned(planned):
    found = planned({**PETS, "images": 7})
    terms = "see https://huggingface.co/datasets/somebody/pets"
    assert found["missing"]["dataset mine"] == f"files of unknown size, fetched by the workflow; licence: {terms}"
    assert "download of dataset mine" in found["unknown"]
    assert "left out of bytes and hours: download of dataset mine, " in as_text(found)


def test_what_people_place_by_hand_says_where_to_get_it(planned):
    found = planned({"dataset": "pacs", "domain": "photo"})["missing"]["dataset mine"]
    assert found.startswith("not downloaded by the workflow, and data/raw/pacs is missing: Get PACS from its authors")
    assert "\n" not in found
    found = planned({"dataset": "webdataset"})["missing"]["dataset mine"]
    assert "data/raw/webdataset is missing: Read the tars" in found  # no HOW: what it reads


def test_what_is_published_with_its_size_is_counted(planned):
    found = planned({"dataset": "cifar10", "split": "test"})
    assert found["missing"]["dataset mine"].startswith("0.16 GiB, fetched by the workflow; licence: ")
    assert found["bytes"]["to download"] == 170_052_171
    assert not any("mine" in name for name in found["unknown"])
