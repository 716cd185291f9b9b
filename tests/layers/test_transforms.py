import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from reliquant.layers.hadamard import hadamard
from reliquant.layers.transforms import CHUNK, RootMeanSquare, Rotation, Smoothing, Stream, attach, build


@pytest.mark.parametrize("width", [1, 3, 7, 49, 48, 56, 200, 768])
@pytest.mark.parametrize("head_tail", [False, True])
def test_rotation_is_orthogonal_and_its_inverse_undoes_it(width, head_tail):
    rotation = Rotation(width, np.random.default_rng(0), head_tail=head_tail)
    x = torch.randn(2, 5, width)
    torch.testing.assert_close(rotation.inverse(rotation(x)), x, atol=1e-5, rtol=1e-5)
    matrix = rotation(torch.eye(width))
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(width), atol=1e-5, rtol=0)


def test_a_rotation_of_twelve_times_four_is_signs_then_the_kronecker_product():
    rotation = Rotation(48, np.random.default_rng(1))
    x = torch.randn(3, 48)
    matrix = np.kron(hadamard(12), np.kron(hadamard(2), hadamard(2))) / 48**0.5
    expected = (x * rotation.signs).double() @ torch.tensor(matrix)
    torch.testing.assert_close(rotation(x).double(), expected, atol=1e-5, rtol=1e-5)


def test_head_then_tail_of_width_six_by_hand():
    rotation = Rotation(6, head_tail=True)  # all signs +1: four first, then four last
    head = hadamard(4) / 2
    first = np.eye(6)
    first[:4, :4] = head
    second = np.eye(6)
    second[2:, 2:] = head
    np.testing.assert_allclose(rotation(torch.eye(6)), first @ second, atol=1e-6)


@pytest.mark.parametrize("width", [48, 768, 3072])
def test_rows_are_rotated_in_chunks_as_they_are_at_once(width):
    rotation = Rotation(width, np.random.default_rng(0), head_tail=True)
    x = torch.randn(30, 2, CHUNK // width // 8, width).transpose(0, 1)  # seven chunks and a half
    with torch.enable_grad():
        whole = rotation(x.clone().requires_grad_())
        back = rotation.inverse(x.clone().requires_grad_())
    torch.testing.assert_close(rotation(x), whole)
    torch.testing.assert_close(rotation.inverse(x), back)


class LargeTensors(TorchDispatchMode):
    """Note where in memory operators put tensors of more than four chunks."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.untyped_storage().nbytes() > 4 * 4 * CHUNK:
            self.seen.add(out.untyped_storage().data_ptr())
        return out


@pytest.mark.parametrize("turn", ["forward", "inverse"])
def test_of_many_rows_only_the_result_is_ever_held_whole(turn):
    rotation = Rotation(768, np.random.default_rng(0), head_tail=True)
    x = torch.randn(1024, 768)
    with LargeTensors() as large:
        out = getattr(rotation, turn)(x)
    assert large.seen - {x.data_ptr()} == {out.data_ptr()}


def test_rotation_spreads_an_outlier_over_all_channels():
    x = torch.zeros(1, 768)
    x[0, 5] = 100.0
    rotated = Rotation(768, np.random.default_rng(0))(x)
    torch.testing.assert_close(rotated.abs(), torch.full_like(rotated, 100 / 768**0.5), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "piece",
    [
        Rotation(48, np.random.default_rng(3)),
        Rotation(49, np.random.default_rng(3), head_tail=True),
        Smoothing(torch.rand(48) + 0.5),
        RootMeanSquare(48, 1e-5),
    ],
)
def test_a_piece_is_rebuilt_from_its_facts_and_state(piece):
    again = build(piece.facts())
    again.load_state_dict(piece.state_dict())
    x = torch.randn(4, getattr(piece, "width", 48))
    assert torch.equal(again(x), piece(x))


def test_an_unknown_piece_is_refused():
    with pytest.raises(ValueError, match="holds a 'wavelet'"):
        build({"kind": "wavelet"})


def test_a_stream_that_enters_is_centred_and_rotated_and_leaves_as_it_came():
    entry, leaving = Stream(48, "in", np.random.default_rng(0)), Stream(48, "out")
    leaving.load_state_dict(entry.state_dict())
    x = torch.randn(2, 5, 48)
    centred = x - x.mean(-1, keepdim=True)
    torch.testing.assert_close(entry(x), entry.turned(centred))
    torch.testing.assert_close(leaving(entry(x)), centred, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("more", [(), ("mask",)])
def test_a_block_rotates_what_it_is_given_and_what_it_returns(more):
    class Block(torch.nn.Module):
        def forward(self, x, *others):
            return (2 * x, *others) if others else 2 * x

    block, entry, leaving = Block(), Stream(8, "in", np.random.default_rng(0)), Stream(8, "out")
    leaving.load_state_dict(entry.state_dict())
    attach(block, entry)
    attach(block, leaving)
    x = torch.randn(3, 8)
    found = block(x, *more)
    first = found[0] if more else found
    assert not more or found[1:] == more
    torch.testing.assert_close(first, 2 * (x - x.mean(-1, keepdim=True)), atol=1e-5, rtol=1e-5)


def test_the_root_mean_square_of_centred_rows_is_what_layer_norm_divides_by():
    x = torch.randn(4, 48)
    centred = x - x.mean(-1, keepdim=True)
    expected = torch.nn.functional.layer_norm(x, (48,), eps=1e-3)
    torch.testing.assert_close(RootMeanSquare(48, 1e-3)(centred), expected, atol=1e-6, rtol=1e-5)
