import numpy as np
import polars as pl
import pytest
from PIL import Image

from reliquant.images import cifar
from reliquant.images.datasets import cifar10, cifar10_captions
from reliquant.models.tokenizer import read_words


@pytest.fixture
def archive(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    records = np.random.default_rng(0).integers(0, 256, (cifar.IMAGES, 1 + cifar.PLANES), dtype=np.uint8)
    records[:, 0] %= 10
    records.tofile(folder / "test_batch.bin")
    return tmp_path, records


def test_binary_records_are_planes_of_red_green_blue(archive):
    root, records = archive
    found = cifar10.dataset(root)
    assert found.labels.tolist() == records[:, 0].tolist()
    image = found.read(7)
    assert image.shape == (32, 32, 3)
    assert image[2, 5].tolist() == [records[7, 1 + 1024 * c + 2 * 32 + 5] for c in range(3)]
    assert len(cifar10.dataset(root, images=100).labels) == 100


def test_a_truncated_or_missing_batch_is_named(archive):
    root, records = archive
    with pytest.raises(FileNotFoundError, match=r"data_batch_1\.bin"):
        cifar10.dataset(root, split="train")
    records[:-1].tofile(root / "cifar-10-batches-bin" / "test_batch.bin")
    with pytest.raises(ValueError, match=r"test_batch\.bin: has 30726927 bytes; 10000 records take 30730000"):
        cifar10.dataset(root)


def test_an_empty_root_names_what_is_read(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"neither cifar-10-batches-bin/ nor test\.parquet nor test/<class>/"):
        cifar10.dataset(tmp_path)


def test_class_folders_are_read(tmp_path):
    for name in cifar.CLASSES:
        (tmp_path / "test" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "test" / name / "0.png")
    assert cifar10.dataset(tmp_path).labels.tolist() == list(range(10))


def captions(archive, source, seed=0):
    return cifar10_captions.dataset(archive[0], source=source, split="test", seed=seed)


def test_curated_captions_name_the_right_class(archive):
    found = captions(archive, "curated")
    assert all(
        caption.endswith(found.classes[label]) for caption, label in zip(found.captions, found.labels, strict=True)
    )
    assert len(set(found.captions)) == 10 * len(cifar.TEMPLATES)


def test_web_captions_err_as_often_as_documented(archive):
    found = captions(archive, "web")
    kept = {n: {n, *cifar10_captions.ALSO[n]} for n in found.classes}
    said = [{w for w in caption.split() if any(w in names for names in kept.values())} for caption in found.captions]
    right = [bool(words & kept[found.classes[label]]) for words, label in zip(said, found.labels, strict=True)]
    silent = [not words for words in said]
    assert np.mean(right) == pytest.approx(0.8, abs=0.02)
    assert np.mean(silent) == pytest.approx(0.1, abs=0.02)


def test_captions_depend_on_their_seed_alone(archive):
    assert captions(archive, "web").captions == captions(archive, "web").captions
    assert captions(archive, "web").captions != captions(archive, "web", seed=1).captions


def test_every_word_of_a_caption_is_in_the_vocabulary(archive):
    from reliquant.models.towers.small import MODELS

    known = set(read_words(MODELS / "vocabulary.txt"))
    for source in ("curated", "web"):
        assert {word for caption in captions(archive, source).captions for word in caption.split()} <= known


def test_the_real_parquet_has_the_official_order(shared_data):
    found = cifar10.dataset(shared_data / "cifar10")
    assert len(found.labels) == 10_000
    assert found.labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    assert found.read(9_999).shape == (32, 32, 3)
    assert np.bincount(pl.read_parquet(shared_data / "cifar10" / "test.parquet")["label"]).tolist() == [1000] * 10
