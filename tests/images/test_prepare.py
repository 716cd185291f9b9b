import numpy as np
import pytest
from PIL import Image

from reliquant.files.artifacts import read_sealed_json, save_sealed_json
from reliquant.files.digests import DamagedFile
from reliquant.images.dataset import Dataset, UnreadableImage
from reliquant.images.decoding import ImageFiles
from reliquant.images.prepare import load, prepare


def made(sizes=((8, 8),) * 5, bad=(), **more):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*s, 3), dtype=np.uint8) for s in sizes]

    def read(i):
        if i in bad:
            raise UnreadableImage(f"img{i}.png: truncated")
        return images[i]

    n = len(sizes)
    names = [f"img{i}.png" for i in range(n)]
    return images, Dataset(["cat", "dog"], ["a {}"], np.arange(n) % 2, read, names, **more)


@pytest.mark.parametrize("workers", [1, 3])
def test_native_images_come_back_as_they_were(tmp_path, workers):
    images, dataset = made(captions=[f"c{i}" for i in range(5)])
    prepare(dataset, tmp_path / "x", form="native", entry={"dataset": "x"}, workers=workers)
    found = load(tmp_path / "x")
    assert np.array_equal(found.images, np.stack(images))
    assert found.labels.tolist() == [0, 1, 0, 1, 0]
    assert found.meta["captions"] == ["c0", "c1", "c2", "c3", "c4"]
    assert found.meta["entry"] == {"dataset": "x"}


@pytest.mark.parametrize("form", ["16-shortest-bicubic", "16-shortest-bilinear", "16-squash-bicubic"])
def test_large_images_are_fitted_as_torchvision_does(tmp_path, form):
    import reliquant.models.openclip  # noqa: F401  must come first

    # isort: split
    from torchvision import transforms as t

    images, dataset = made(sizes=((40, 31), (20, 57), (16, 16)))
    prepare(dataset, tmp_path / "x", form=form, entry={})
    _, resize, mode = form.split("-")
    interpolation = t.InterpolationMode(mode)
    target = 16 if resize == "shortest" else (16, 16)
    theirs = t.Compose([t.Resize(target, interpolation), t.CenterCrop(16)])
    expected = [np.asarray(theirs(Image.fromarray(i))) for i in images]
    assert np.array_equal(load(tmp_path / "x").images, np.stack(expected))


def test_an_image_of_another_size_is_named(tmp_path):
    _, dataset = made(sizes=((8, 8), (8, 9)))
    with pytest.raises(ValueError, match=r"img1\.png: 9x8 pixels where the first image has 8x8"):
        prepare(dataset, tmp_path / "x", form="native", entry={})
    assert not (tmp_path / "x" / "images.npy").exists()
    assert not list((tmp_path / "x").glob(".*"))


def test_an_unreadable_image_stops_by_name(tmp_path):
    _, dataset = made(bad=[3])
    with pytest.raises(UnreadableImage, match=r"img3\.png"):
        prepare(dataset, tmp_path / "x", form="native", entry={})
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "x")


def test_or_is_skipped_and_counted(tmp_path):
    images, dataset = made(bad=[0, 3], groups=list("abcde"))
    prepare(dataset, tmp_path / "x", form="native", entry={}, unreadable="skip")
    found = load(tmp_path / "x")
    assert np.array_equal(found.images, np.stack([images[i] for i in (1, 2, 4)]))
    assert found.meta["skipped"] == ["img0.png", "img3.png"]
    assert found.meta["groups"] == ["b", "c", "e"]
    assert found.labels.tolist() == [1, 0, 0]


def test_nothing_readable_is_an_error(tmp_path):
    _, dataset = made(bad=range(5))
    with pytest.raises(ValueError, match=r"none of the 5 images can be read; the first is img0\.png"):
        prepare(dataset, tmp_path / "x", form="native", entry={}, unreadable="skip")


def test_equal_datasets_give_equal_bytes(tmp_path):
    for name in "ab":
        prepare(made()[1], tmp_path / name, form="native", entry={})
    for file in ("images.npy", "labels.npy", "photographs.npy", "meta.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_files_that_do_not_fit_together_are_named(tmp_path):
    prepare(made()[1], tmp_path / "x", form="native", entry={})
    meta = read_sealed_json(tmp_path / "x" / "meta.json")
    save_sealed_json(tmp_path / "x" / "meta.json", {**meta, "n": 4})
    with pytest.raises(DamagedFile, match=r"5 images and 5 labels, but meta\.json says 4"):
        load(tmp_path / "x")
    (tmp_path / "x" / "labels.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"labels\.npy"):
        load(tmp_path / "x")


def pictures():
    """The same picture in every mode that files have, and others of odd shapes."""
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(90, 120, 3)).cumsum(0).cumsum(1)
    colour = Image.fromarray(np.uint8(np.clip(128 + steps * 3, 0, 255)))
    clear = Image.fromarray(np.dstack([np.asarray(colour), rng.integers(0, 256, (90, 120), dtype=np.uint8)]))
    yield from (("rgb.png", colour), ("palette.png", colour.quantize(64)), ("palette.gif", colour))
    yield from (("bits.png", colour.convert("1")), ("grey.png", colour.convert("L")), ("clear.png", clear))
    yield from (("greys.png", colour.convert("LA")), ("inks.jpg", colour.convert("CMYK")), ("lossy.webp", colour))
    yield "odd.png", colour.crop((0, 0, 33, 32))  # one row is padded
    yield from (("tall.png", colour.crop((0, 0, 20, 90))), ("small.png", colour.crop((0, 0, 9, 7))))


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ({}, 32),
        ({"interpolation": "bilinear"}, [24, 48]),
        ({"resize_mode": "squash", "interpolation": "bilinear"}, [24, 48]),
        ({"resize_mode": "longest", "interpolation": "random"}, 32),
        ({"resize_mode": "longest", "fill_color": 200}, [48, 24]),
        ({"resize_mode": "longest", "fill_color": [9, 200, 30]}, 32),
    ],
)
def test_files_of_every_mode_become_what_open_clip_makes_of_them(tmp_path, config, size):
    import reliquant.models.openclip  # noqa: F401  must come first

    # isort: split
    from open_clip.transform import PreprocessCfg, image_transform_v2

    from reliquant.images.open import open_images
    from reliquant.study.preprocessing import read_preprocessing

    (tmp_path / "a").mkdir()
    for name, picture in pictures():
        picture.save(tmp_path / "a" / name)
    words = {"mean": 0.5, "std": 0.5, **config}
    transform = image_transform_v2(PreprocessCfg(size=size, **words), is_train=False)
    ours = open_images(str(tmp_path), read_preprocessing(words, size, "x").form.name).images
    compared = 0
    for path, image in zip(sorted((tmp_path / "a").iterdir()), ours, strict=True):
        try:
            theirs = transform(Image.open(path)).permute(1, 2, 0).numpy() * 127.5 + 127.5
        except ValueError:  # it pads no picture with three levels but one of three channels
            assert isinstance(config["fill_color"], list)
            continue
        np.testing.assert_allclose(image, theirs, atol=1e-3, err_msg=path.name)
        compared += 1
    assert compared >= 4


def test_what_was_passed_over_is_in_meta_and_said_with_the_name_of_the_dataset(tmp_path, capsys):
    _, dataset = made(bad=[1], passed_over={".txt": 2, ".json": 1}, assumed=("images are read from column 'x'",))
    prepare(dataset, tmp_path / "pets" / "native", form="native", entry={}, unreadable="skip")
    meta = load(tmp_path / "pets" / "native").meta
    assert meta["passed_over"] == {".txt": 2, ".json": 1}
    assert meta["assumed"] == ["images are read from column 'x'"]
    assert capsys.readouterr().err.splitlines() == [
        "pets: 5 read, 3 passed over: .txt 2, .json 1",
        "pets: images are read from column 'x'",
        "pets: 1 of 5 images cannot be read and are skipped; the first: img1.png: truncated",
    ]


def test_meta_says_nothing_where_there_is_nothing_to_say(tmp_path, capsys):
    _, dataset = made()
    prepare(dataset, tmp_path / "pets" / "native", form="native", entry={})
    assert set(load(tmp_path / "pets" / "native").meta) == {
        "n",
        "classes",
        "templates",
        "entry",
        "skipped",
        "sha256",
        "arrays",
        "form",
    }
    assert capsys.readouterr().err == ""


def test_a_picture_of_which_nothing_is_left_is_unreadable(tmp_path):
    dataset = Dataset(["x"], ["{}"], np.zeros(1, int), ImageFiles(lambda i: Image.new("L", (1, 9000))), ["thin.png"])
    with pytest.raises(UnreadableImage, match=r"thin\.png: 1x9000 pixels: nothing is left"):
        prepare(dataset, tmp_path / "x", form="32-longest-bicubic-fill0", entry={})


def test_images_are_padded_as_open_clip_does(tmp_path):
    import reliquant.models.openclip  # noqa: F401  must come first

    # isort: split
    from open_clip.transform import CenterCropOrPad, ResizeKeepRatio

    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in ((40, 31), (20, 57))]
    dataset = Dataset(["x"], ["{}"], np.zeros(2, int), ImageFiles(lambda i: pictures[i]), ["a", "b"])
    prepare(dataset, tmp_path / "x", form="16-longest-bicubic-fill7", entry={})
    expected = [np.asarray(CenterCropOrPad(16, fill=7)(ResizeKeepRatio(16, longest=1)(each))) for each in pictures]
    assert np.array_equal(load(tmp_path / "x").images, np.stack(expected))
