import numpy as np
import pytest

from reliquant.images.prepare import Prepared
from reliquant.quantization.held_out import make_pairs, never_seen


def pictures(*values):
    """One-colour images (n, 4, 4, 3)."""
    return np.stack([np.full((4, 4, 3), value, np.uint8) for value in values])


def prepared(images, captions):
    names = [f"{i}.png" for i in range(len(captions))]
    meta = {"captions": captions, "entry": {"dataset": "x"}, "sha256": "s", "names": names}
    return Prepared(images, np.zeros(len(captions), np.int64), meta)


def test_a_share_of_the_pairs_is_held_out_and_the_same_ones_in_any_order_and_beside_others():
    captions = [f"thing {i}" for i in range(200)]
    images = np.arange(200, dtype=np.uint8).reshape(200, 1, 1, 1)
    away = never_seen(images, captions, 0.2)
    assert away.sum() == 40
    turned = never_seen(images[::-1], captions[::-1], 0.2)
    assert np.array_equal(turned[::-1], away)
    fewer = never_seen(images[:100], captions[:100], 0.2)
    assert fewer.sum() == 20
    assert (fewer & away[:100]).sum() >= 15  # a hash orders them: half of the pairs hold out nearly the same ones


def test_no_caption_and_no_image_is_on_both_sides():
    rng = np.random.default_rng(0)
    captions = [f"{'A ' if rng.random() < 0.5 else 'a  '}thing {rng.integers(250)}" for _ in range(200)]
    values = rng.integers(0, 250, 200)
    images = values.astype(np.uint8).reshape(200, 1, 1, 1)
    away = never_seen(images, captions, 0.3)
    assert 0 < away.sum() < 200

    def told(side):
        return {captions[i].lower().replace("  ", " ") for i in np.flatnonzero(side)}

    assert not told(away) & told(~away)
    assert not set(values[away]) & set(values[~away])


def test_pairs_that_a_third_joins_stay_together():
    images = pictures(1, 2, 2, 3, 4, 5)
    captions = ["a", "b", "c", "c", "d", "e"]  # b and c share an image, and both c a caption
    for share in (0.2, 0.4, 0.6, 0.8):
        away = never_seen(images, captions, share)
        assert len(set(away[1:4].tolist())) == 1


def test_whole_groups_come_as_near_to_the_share_as_their_order_allows():
    images = np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1)
    most = ["most"] * 40 + [f"other {i}" for i in range(60)]
    assert never_seen(images, most, 0.2).sum() == 20  # the large group is passed over
    assert never_seen(images, most, 0.0).sum() == 0
    assert (
        never_seen(images // 25, [f"thing {i}" for i in range(100)], 0.2).sum() == 25
    )  # one of four is nearer than none
    assert never_seen(images // 25, [f"thing {i}" for i in range(100)], 0.1).sum() == 0  # none is nearer than one


def test_captions_that_name_classes_are_on_both_sides_and_that_is_said(capfd):
    values = np.arange(200, dtype=np.uint8).repeat(48).reshape(200, 4, 4, 3)
    values[100:150] = values[50:100]  # copies, of another class: images stay apart
    pairs = make_pairs(prepared(values, [f"a photo of a {i % 4}" for i in range(200)]), None, 0, "cpu")
    assert set(pairs.held_out.captions) == set(pairs.proxy.captions)
    assert pairs.which["held_out"]["by"] == "image"
    assert len(pairs.held_out.captions) == 40
    there = {image.tobytes() for image in pairs.proxy.images}
    assert not there & {image.tobytes() for image in pairs.held_out.images}
    assert "200 have 4 captions: images are held out" in capfd.readouterr().err


def test_the_pairs_of_a_variant_say_which_are_held_out_and_none_is_calibrated_on():
    images = np.arange(100, dtype=np.uint8).repeat(48).reshape(100, 4, 4, 3)
    pairs = make_pairs(prepared(images, [f"thing {i}" for i in range(100)]), 60, 7, "cpu")
    held = pairs.which["held_out"]["indices"]
    assert (pairs.which["held_out"]["share"], pairs.which["held_out"]["by"]) == (0.2, "caption")
    assert pairs.held_out.captions == [f"thing {i}" for i in held]
    assert [int(image[0, 0, 0]) for image in pairs.held_out.images] == held
    rest = [i for i in pairs.which["indices"] if i not in held]
    assert pairs.proxy.captions == [f"thing {i}" for i in rest]
    assert (len(held), len(rest), pairs.proxy.seed) == (12, 48, 7)
    pairs.require_tunable()


def test_other_held_out_pairs_are_another_run():
    images = np.arange(100, dtype=np.uint8).repeat(48).reshape(100, 4, 4, 3)
    data = prepared(images, [f"thing {i}" for i in range(100)])
    runs = [make_pairs(data, number, 0, "cpu", held_out=share).identity for number, share in ((60, 0.2), (60, 0.3))]
    assert runs[0] != runs[1]
    assert runs[0] == make_pairs(data, 60, 1, "cpu", held_out=0.2).identity


@pytest.mark.parametrize(
    ("captions", "share", "message"),
    [
        ([f"thing {i}" for i in range(40)], 0.2, r"held_out: 0\.2 of 40 pairs are 8 with 8 captions; .* at least 10"),
        ([f"thing {i}" for i in range(40)], 0.0, r"held_out: 0 of 40 pairs are 0 with 0 captions; .* tuning none"),
        (["one"] * 40, 0.25, "are 10 with 1 captions; tuning the logit scale takes .* with 2"),
    ],
)
def test_too_few_to_tune_on_are_refused_with_what_is_needed(captions, share, message):
    images = np.arange(40, dtype=np.uint8).repeat(48).reshape(40, 4, 4, 3)
    with pytest.raises(ValueError, match=message):
        make_pairs(prepared(images, captions), None, 0, "cpu", held_out=share).require_tunable()


def test_something_is_left_to_calibrate_on():
    images = np.arange(3, dtype=np.uint8).repeat(48).reshape(3, 4, 4, 3)
    with pytest.raises(ValueError, match=r"held_out: 0\.99 of 3 pairs leaves none to calibrate on"):
        make_pairs(prepared(images, ["a", "b", "c"]), None, 0, "cpu", held_out=0.99)
