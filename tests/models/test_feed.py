"""The GPU's own part, pinned memory and streams, is tested in test_cuda.py."""

import threading
import time

import numpy as np
import pytest
import torch

from reliquant.models.feed import SLOTS, arrays, on_device, read_ahead

IMAGES = np.random.default_rng(0).integers(0, 256, (23, 4, 5, 3), dtype=np.uint8)


class Watched:
    """An array that notes which slices were asked for, and may fail at one."""

    def __init__(self, images, fails_at=None):
        self.images, self.shape, self.fails_at, self.asked = images, images.shape, fails_at, []

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.asked.append(index.start)
        if index.start == self.fails_at:
            raise ValueError("images.npy: changed since it was written")
        return self.images[index]


def copied(pixels):
    return pixels.clone(), lambda: None


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("reader")]


@pytest.mark.parametrize("batch", [1, 4, 8, 11, 23, 40])
def test_batches_come_whole_and_in_order(batch):
    for found in (list(read_ahead(IMAGES, batch, copied)), list(on_device(IMAGES, batch, "cpu"))):
        assert [len(part) for part in found] == [min(batch, 23 - start) for start in range(0, 23, batch)]
        np.testing.assert_array_equal(torch.cat(found).numpy(), IMAGES)
    assert readers() == []


def test_no_images_are_no_batches():
    assert list(read_ahead(IMAGES[:0], 4, copied)) == []


def test_what_is_taken_survives_that_its_memory_is_written_again():
    slots = set()

    def take(pixels):
        slots.add(pixels.data_ptr())
        return pixels.clone(), lambda: None

    np.testing.assert_array_equal(torch.cat(list(read_ahead(IMAGES, 2, take))).numpy(), IMAGES)
    assert len(slots) == SLOTS


def test_no_more_is_read_ahead_than_there_is_memory_for():
    images = Watched(IMAGES)
    for number, _ in enumerate(read_ahead(images, 2, copied)):
        time.sleep(0.01)
        assert len(images.asked) <= number + 1 + SLOTS


def test_memory_is_written_again_only_when_its_copy_has_arrived():
    arrived = threading.Event()
    images = Watched(IMAGES)
    coming = read_ahead(images, 2, lambda pixels: (pixels.clone(), arrived.wait))
    for _ in range(SLOTS):
        next(coming)
    time.sleep(0.05)
    assert len(images.asked) <= SLOTS + 2  # the two readers wait before they write
    arrived.set()
    assert len(list(coming)) == 12 - SLOTS


def test_an_error_of_a_reader_comes_in_the_place_of_its_batch_and_ends_the_threads():
    coming = read_ahead(Watched(IMAGES, fails_at=8), 4, copied)
    np.testing.assert_array_equal(torch.cat([next(coming), next(coming)]).numpy(), IMAGES[:8])
    with pytest.raises(ValueError, match="changed since"):
        next(coming)
    assert readers() == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_of_the_receiver_ends_the_threads(error):
    def receive():
        for number, _ in enumerate(read_ahead(IMAGES, 2, copied)):
            assert readers() != []
            if number == 1:
                raise error

    with pytest.raises(error):
        receive()
    assert readers() == []


def test_an_iterator_that_is_left_early_ends_its_threads():
    assert torch.equal(next(read_ahead(IMAGES, 2, copied)), torch.from_numpy(IMAGES[:2]))
    assert readers() == []


def test_arrays_are_the_tensors_in_order():
    tensors = [torch.full((2, 3), float(i)) for i in range(4)]
    np.testing.assert_array_equal(np.concatenate(list(arrays(iter(tensors)))), torch.cat(tensors).numpy())
    assert list(arrays(iter([]))) == []
