from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reliquant.images.datasets.lab import dataset
from reliquant.images.world.captions import JUNK, describe
from reliquant.images.world.paint import paint
from reliquant.images.world.scenes import KNOWN, NOVEL, bind, common_background, draw, oppose
from reliquant.images.world.shapes import SHAPES, distance, distances

HERE = Path(".")


def stacked(data) -> np.ndarray:
    return np.stack([data.read(i) for i in range(len(data.labels))])


@pytest.mark.parametrize("task", list(KNOWN))
def test_a_set_is_the_same_bytes_whenever_it_is_made_and_its_start_does_not_depend_on_its_length(task):
    one, same, longer = (stacked(dataset(HERE, task=task, images=n)) for n in (30, 30, 250))
    np.testing.assert_array_equal(one, same)
    np.testing.assert_array_equal(one, longer[:30])


def test_seeds_and_tasks_give_other_images():
    shape, other, colour = (
        stacked(dataset(HERE, images=8, **words))
        for words in ({"task": "shape"}, {"task": "shape", "seed": 1}, {"task": "colour"})
    )
    assert (shape != other).any()
    assert (shape != colour).any()


@pytest.mark.parametrize("task", list(KNOWN))
def test_classes_are_balanced_and_each_fits_every_template_once(task):
    data = dataset(HERE, task=task, images=240)
    assert set(np.bincount(data.labels)) == {240 // len(KNOWN[task])}
    assert len(data.templates) >= 3
    assert len({t.format(c) for t in data.templates for c in data.classes}) == len(data.templates) * len(data.classes)


def test_known_and_novel_names_do_not_overlap_and_novel_ones_never_reach_a_caption():
    rng = np.random.default_rng(0)
    text = " ".join(describe(draw(500, rng), rng, world="web") + describe(draw(500, rng), rng, world="curated"))
    for task in KNOWN:
        assert not set(KNOWN[task]) & set(NOVEL[task])
        assert all(name in text for name in KNOWN[task])
        assert not any(name in text for name in NOVEL[task])


def test_groups_alternate_and_share_their_classes():
    data = dataset(HERE, task="shape", images=200, counter=True)
    assert data.groups[:3] == ["common", "counter", "common"]
    np.testing.assert_array_equal(data.labels[::2], data.labels[1::2])


def test_the_common_group_has_the_bound_background_and_the_counter_group_never_has():
    rng = np.random.default_rng(0)
    scenes, groups = draw(400, rng), np.arange(400) % 2 == 1
    bound = oppose(scenes, groups, rng).background == common_background(scenes.shape)
    np.testing.assert_array_equal(bound, ~groups)


def test_binding_raises_the_share_of_common_backgrounds_to_what_is_asked():
    rng = np.random.default_rng(0)
    scenes = bind(draw(4000, rng), 0.75, rng)
    share = (scenes.background == common_background(scenes.shape)).mean()
    assert share == pytest.approx(0.75 + 0.25 / 8, abs=0.02)


def test_curated_captions_say_only_what_is_there():
    rng = np.random.default_rng(1)
    scenes = draw(300, rng)
    for i, caption in enumerate(describe(scenes, rng, world="curated")):
        words = caption.split()
        for task in ("colour", "texture", "background"):
            said = [name for name in KNOWN[task] if name in words]
            assert said in ([], [KNOWN[task][getattr(scenes, task)[i]]])


def test_web_captions_err_and_ramble_and_curated_ones_never_do():
    rng = np.random.default_rng(1)
    scenes = draw(3000, rng)
    wrong, rambling = {}, {}
    for world in ("curated", "web"):
        words = [caption.split() for caption in describe(scenes, rng, world=world)]
        said = [
            (KNOWN["colour"][c], [w for w in text if w in KNOWN["colour"]])
            for c, text in zip(scenes.colour, words, strict=True)
        ]
        wrong[world] = np.mean([[true] != named for true, named in said if named])
        rambling[world] = np.mean([" ".join(text).endswith(JUNK) for text in words])
    assert wrong["curated"] == rambling["curated"] == 0
    assert 0.01 < wrong["web"] < 0.05
    assert 0.25 < rambling["web"] < 0.45


def test_every_rendering_changes_the_look_and_an_unknown_one_is_refused():
    plain = stacked(dataset(HERE, task="shape", images=10))
    for rendering in ("sketch", "silhouette", "rotated", "rescaled", "negative", "mosaic"):
        shifted = dataset(HERE, task="shape", images=10, rendering=rendering)
        assert np.abs(stacked(shifted).astype(int) - plain).mean() > 5
        np.testing.assert_array_equal(shifted.labels, np.arange(10))
    with pytest.raises(ValueError, match="rendering 'cubist' is unknown; there are plain, sketch"):
        paint(draw(2, np.random.default_rng(0)), np.random.default_rng(0), rendering="cubist")


def test_a_question_that_the_world_cannot_ask_is_refused():
    with pytest.raises(ValueError, match="task count has no novel classes"):
        dataset(HERE, task="count", images=4, novel=True)
    with pytest.raises(ValueError, match="task colour has no counter group"):
        dataset(HERE, task="colour", images=4, counter=True)
    with pytest.raises(ValueError, match="at least 1"):
        dataset(HERE, task="shape", images=0)


def test_distance_is_zero_on_a_circles_rim_and_negative_inside():
    x = np.array([[[0.0, 0.88, 1.2, 9.0]]], dtype=np.float32)
    found = distance(np.array([SHAPES.index("circle")]), x, np.zeros_like(x))[0, 0]
    np.testing.assert_allclose(found, [-0.88, 0, 0.32, 1], atol=0.02)


def test_distances_of_the_square_agree_with_the_closed_form():
    axis = (np.arange(192) + 0.5) / 192 * 3.2 - 1.6
    x, y = np.meshgrid(axis, axis)
    half = 1.08 / np.sqrt(2)
    qx, qy = np.abs(x) - half, np.abs(y) - half
    closed = np.hypot(np.maximum(qx, 0), np.maximum(qy, 0)) + np.minimum(np.maximum(qx, qy), 0)
    np.testing.assert_allclose(distances()[SHAPES.index("square")], closed, atol=1e-5)
