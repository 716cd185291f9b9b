import gzip

import numpy as np
import pytest
from PIL import Image

from reliquant.images.dataset import UnreadableImage
from reliquant.images.datasets import mnist, textures, tiny_imagenet


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


@pytest.fixture
def digits(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pixels)))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(np.arange(20, dtype=np.uint8) % 10))
    return tmp_path, pixels


def test_mnist_reads_idx_files_packed_or_not(digits):
    root, pixels = digits
    found = mnist.dataset(root)
    assert found.labels.tolist() == [*range(10), *range(10)]
    assert np.array_equal(found.read(13), np.stack([pixels[13]] * 3, 2))


def test_mnist_names_a_damaged_or_missing_file(digits):
    root, pixels = digits
    path = root / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte\.gz: truncated or not gzip"):
        mnist.dataset(root)
    path.write_bytes(gzip.compress(idx(pixels)[:-5]))
    with pytest.raises(ValueError, match="do not hold the 20x28x28"):
        mnist.dataset(root)
    path.write_bytes(gzip.compress(b"junk junk"))
    with pytest.raises(ValueError, match="not an idx file of 3 dimensions"):
        mnist.dataset(root)
    with pytest.raises(FileNotFoundError, match=r"neither train-images-idx3-ubyte\.gz"):
        mnist.dataset(root, split="train")


def test_mnist_refuses_images_without_labels(digits):
    root, _ = digits
    (root / "t10k-labels-idx1-ubyte").write_bytes(idx(np.arange(19, dtype=np.uint8) % 10))
    with pytest.raises(ValueError, match="20 images of the test split, but 19 labels"):
        mnist.dataset(root)


def test_textures_reads_class_folders_and_counts_the_official_ones(tmp_path):
    for folder in (tmp_path / "banded", tmp_path / "lacelike"):
        folder.mkdir()
        Image.fromarray(np.zeros((9, 8, 3), np.uint8)).save(folder / "0.jpg")
    assert textures.dataset(tmp_path).classes == ["banded", "lacelike"]
    official = tmp_path / "dtd" / "images"
    official.mkdir(parents=True)
    (tmp_path / "banded").rename(official / "banded")
    with pytest.raises(ValueError, match=r"47 classes of 120 are expected; there are 1: \['banded 1'\]"):
        textures.dataset(tmp_path)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.setattr(tiny_imagenet, "IMAGES", 4)
    root = tmp_path / "tiny-imagenet-200"
    (root / "val" / "images").mkdir(parents=True)
    (root / "wnids.txt").write_text("n2\nn1\n")
    (root / "words.txt").write_text("n1\tcat, true cat\nn2\treel\nn3\tunused\n")
    (root / "val" / "val_annotations.txt").write_text(
        "".join(f"v{i}.JPEG\tn{1 + i % 2}\t0\t0\t9\t9\n" for i in range(4))
    )
    for i in range(4):
        Image.fromarray(np.full((64, 64, 3), 50 * i, np.uint8)).save(root / "val" / "images" / f"v{i}.JPEG")
    return tmp_path


def test_tiny_imagenet_reads_the_official_folder(tiny):
    found = tiny_imagenet.dataset(tiny)
    assert found.classes == ["reel", "cat"]
    assert found.labels.tolist() == [1, 0, 1, 0]
    assert found.read(3)[0, 0, 0] == 150


def test_tiny_imagenet_leaves_out_classes_that_the_reference_has(tiny):
    found = tiny_imagenet.dataset(tiny, exclude=["cat"])
    assert found.names == ["v1.JPEG", "v3.JPEG"]
    assert found.read(1)[0, 0, 0] == 150
    with pytest.raises(ValueError, match="exclude: dog: no such class"):
        tiny_imagenet.dataset(tiny, exclude=["dog"])


def test_tiny_imagenet_names_what_is_missing(tiny):
    (tiny / "tiny-imagenet-200" / "val" / "images" / "v2.JPEG").unlink()
    with pytest.raises(ValueError, match=r"4 images are expected; 4 are listed, missing: \['v2.JPEG'\]"):
        tiny_imagenet.dataset(tiny)


def test_the_real_sets_are_read(shared_data):
    found = mnist.dataset(shared_data / "mnist", images=100)
    assert found.read(99).shape == (28, 28, 3)
    found = textures.dataset(shared_data / "dtd10")
    assert (len(found.classes), len(found.labels)) == (10, 120)
    found = tiny_imagenet.dataset(shared_data / "tiny_imagenet", exclude=["Egyptian cat"])
    assert found.read(0).shape == (64, 64, 3)
    assert 0 not in found.labels
    with pytest.raises(FileNotFoundError, match=r"val\.parquet"):
        tiny_imagenet.dataset(shared_data / "dtd10")


def test_unreadable_is_a_value_error():
    assert issubclass(UnreadableImage, ValueError)
