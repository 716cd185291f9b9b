import pytest

from reliquant import plugins
from reliquant.quantization.training_words import DEFAULTS, Training, TrainingWords


def words(**given):
    default = {"losses": [{"loss": "contrastive"}], "iterations": 10, "batch": 4, "lr": 1.0, "scale_lr": 1.0}
    rest = {"weight_decay": 0.0, "clip_norm": 1.0, "warmup": 0.2, "schedule": "cosine", "bf16": False, "snapshots": []}
    return {**default, **rest, **given}


def test_rates_rise_then_fall_by_a_cosine_or_stay():
    cosine, constant = Training(**words()), Training(**words(schedule="constant"))
    assert [cosine.rate(i) for i in (0, 1, 2, 6)] == pytest.approx([0.5, 1, 1, 0.5])
    assert cosine.rate(9) < 0.1
    assert [constant.rate(i) for i in (0, 1, 9)] == [0.5, 1, 1]


def test_no_loss_is_refused():
    with pytest.raises(ValueError, match="losses: there must be at least one"):
        Training(**words(losses=[]))


@pytest.mark.parametrize("late", [-1, 11])
def test_a_snapshot_outside_the_iterations_is_refused(late):
    assert Training(**words(snapshots=[0, 10])).snapshots == [0, 10]
    with pytest.raises(ValueError, match=f"snapshots: {late} is not within the 10 iterations"):
        Training(**words(snapshots=[0, late]))


def test_every_word_has_a_default_and_is_one_of_the_training():
    assert set(DEFAULTS) == set(TrainingWords.__annotations__) == set(vars(Training(**DEFAULTS)))
    assert not any(plugins.check("loss", entry) for entry in DEFAULTS["losses"])
