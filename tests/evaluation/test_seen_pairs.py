import json

import numpy as np
import pytest

from reliquant import plugins
from reliquant.evaluation.seen_pairs import count_seen, seen_keys
from reliquant.files.artifacts import DamagedFile
from reliquant.images.prepare import load, prepare

PAIRS = {"dataset": "lab_captions", "world": "curated", "images": 12, "seed": 4}


def keys(*numbers):
    return np.array(numbers, np.uint64)


def test_images_that_were_seen_are_counted_once_and_told(capsys):
    searched = {"fresh": np.arange(300, dtype=np.uint64), "other": keys(7, 8)}
    seen = [("proxy a", keys(5, 5, 299, 1000)), ("proxy b", keys(5))]
    assert count_seen(searched, seen) == {"fresh": 2, "other": 0}
    told = capsys.readouterr().err
    assert "fresh: 2 of 300 images are among the pairs of proxy a: they are searched all the same" in told
    assert "other" not in told


def test_a_set_of_which_a_variant_has_seen_more_than_one_image_in_a_hundred_is_refused():
    told = r"^fresh: 3 of 200 images are among the pairs of proxy a: no pair that is searched may have been seen"
    with pytest.raises(ValueError, match=told):
        count_seen({"fresh": np.arange(200, dtype=np.uint64)}, [("proxy a", keys(0, 1, 2))])


def test_the_pairs_that_the_header_of_a_variant_names_are_those_that_were_seen(tmp_path):
    folder = tmp_path / "fresh" / "native"
    prepare(plugins.load("dataset", PAIRS)(tmp_path), folder, form="native", entry=PAIRS)
    prepared = load(folder)
    every = seen_keys(folder, PAIRS, None)
    assert every.tolist() == prepared.photographs.tolist()
    pairs = json.loads(json.dumps({"sha256": prepared.meta["sha256"], "indices": [3, 7]}))
    assert seen_keys(folder, PAIRS, pairs).tolist() == every[[3, 7]].tolist()
    with pytest.raises(DamagedFile, match="holds other images than the variant was made with"):
        seen_keys(folder, PAIRS, {**pairs, "sha256": "0"})
    with pytest.raises(DamagedFile, match="its images are of"):
        seen_keys(folder, {**PAIRS, "seed": 5}, pairs)
