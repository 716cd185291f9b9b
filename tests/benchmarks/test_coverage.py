import json

import numpy as np
import pytest
from scipy.special import ndtr
from sklearn.metrics import roc_auc_score

from reliquant import plugins

BENCHMARKS = plugins.PACKAGE.parents[1] / "benchmarks"


@pytest.fixture
def worlds(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import worlds

    return worlds


def test_a_few_replications_of_two_worlds_run_and_their_cells_are_within(ran):
    done = ran("coverage", "--quick")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    last = json.loads(lines[-1])
    assert (last["name"], last["medians"]["cells"]) == ("coverage", len(lines) - 3)
    assert last["ratio"] >= 0.97  # of twelve replications: a grossly narrow interval would show


def test_true_values_are_those_of_the_formula_and_of_very_many_answers(worlds):
    world = worlds.World((worlds.FP32, worlds.W4), ("clean", "ood"))
    found = worlds.truths(world, world.models, 1000, 200_000)
    fp32, drawn = worlds.study(world, worlds.labels(200_000, "ten"), world.models, np.random.default_rng(1))
    right = (drawn["prediction"] == drawn["label"]).to_numpy()
    known, clean = (drawn["suite"] == "clean").to_numpy(), drawn.filter(suite="clean")
    same = (fp32["prediction"] == drawn["prediction"]).to_numpy()[known]
    was = (fp32["prediction"] == fp32["label"]).to_numpy()[known]
    assert found["clean", "d", "agreement"] == pytest.approx(same.mean(), abs=0.003)
    assert found["clean", "d", "flips_right_to_wrong"] == pytest.approx((was & ~right[known]).mean(), abs=0.003)
    assert found["ood", "near", "auroc"] == pytest.approx(ndtr(worlds.W4.edge / 2**0.5), abs=0.005)
    assert found["clean", "d", "accuracy"] == pytest.approx(right[known].mean(), abs=0.005)
    assert found["clean", "d", "nll"] == pytest.approx(clean["nll"].mean(), rel=0.02)
    assert found["clean", "d", "brier"] == pytest.approx(clean["brier"].mean(), rel=0.02)
    auroc = roc_auc_score(right[known], clean["confidence"].to_numpy())
    assert found["clean", "d", "misclassification_auroc"] == pytest.approx(auroc, abs=0.01)
    assert found["clean", "d", "squared_ce"] == pytest.approx(worlds.W4.gap**2, rel=0.02)
    assert found["clean", "d", "squared_ce_change"] == found["clean", "d", "squared_ce"]  # FP32's is exactly 0


def test_classes_are_even_uneven_or_of_five_images(worlds):
    assert set(np.bincount(worlds.labels(200, "five"))) == {5}
    uneven = np.bincount(worlds.labels(1000, "uneven"))
    assert uneven[:-1] / uneven[1:] == pytest.approx(1.6, rel=0.2)
    assert uneven.sum() == 1000
