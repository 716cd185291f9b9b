"""The benchmarks of retrieval run: beside faiss or without it, and on one small world."""

import json
from importlib.util import find_spec


def test_the_search_is_timed_and_an_absent_faiss_is_named(ran):
    done = ran("retrieval", "--queries", 50, "--library", 3000, "--dimensions", 32)
    facts = json.loads(done.stdout.splitlines()[-1])
    if find_spec("faiss"):
        assert (done.returncode, round(facts["agree"], 3)) == (0, 1)
    else:
        assert (done.returncode, facts["absent"], facts["ratio"]) == (3, ["faiss"], None)


def test_coverage_is_counted_in_a_small_world(ran):
    done = ran("retrieval_coverage", "--images", 40, "--replications", 8, "--resamples", 50, "--worlds", "nothing")
    facts = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stderr
    assert 0.7 < facts["ratio"] <= 1
    assert facts["false_positives"] < 0.2
