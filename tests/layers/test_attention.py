import pytest
import torch

from reliquant.layers.attention import CrossAttention, NormedAttention, SelfAttention
from reliquant.models.openclip import open_clip


@pytest.mark.parametrize("same_width", [True, False])
def test_cross_attention_equals_torch(same_width):
    torch.manual_seed(0)
    width = 12 if same_width else 7
    packed = torch.nn.MultiheadAttention(12, 3, kdim=width, vdim=width, batch_first=True)
    torch.nn.init.normal_(packed.in_proj_bias)
    query, context = torch.randn(2, 4, 12), torch.randn(2, 5, width)
    torch.testing.assert_close(CrossAttention(packed)(query, context, context)[0], packed(query, context, context)[0])


def test_self_attention_without_batch_first_equals_torch():
    torch.manual_seed(0)
    packed = torch.nn.MultiheadAttention(12, 3, batch_first=False)
    x, mask = torch.randn(5, 2, 12), torch.triu(torch.full((5, 5), float("-inf")), 1)
    torch.testing.assert_close(SelfAttention(packed)(x, x, x, attn_mask=mask)[0], packed(x, x, x, attn_mask=mask)[0])


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("attention", [SelfAttention, CrossAttention])
def test_masks_of_both_kinds_and_shapes_leave_out_what_torch_leaves_out(attention, per_image):
    torch.manual_seed(0)
    packed = torch.nn.MultiheadAttention(12, 3, batch_first=True).eval()
    x = torch.randn(2, 5, 12)
    left_out = torch.triu(torch.ones(6 if per_image else 1, 5, 5), 1).bool()  # one mask per image and head, or one
    left_out = left_out if per_image else left_out[0]
    expected = packed(x, x, x, attn_mask=left_out, need_weights=False)[0]
    added = torch.zeros(left_out.shape).masked_fill(left_out, float("-inf"))
    for mask in (left_out, added):
        torch.testing.assert_close(attention(packed)(x, x, x, attn_mask=mask)[0], expected)


def test_open_clips_own_attention_keeps_its_output_with_everything_it_may_do():
    torch.manual_seed(0)
    packed = open_clip.transformer.Attention(
        12, 3, qk_norm=True, scaled_cosine=False, scale_heads=True, inner_norm=True
    )
    for parameter in packed.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x, mask = torch.randn(2, 5, 12), torch.triu(torch.full((5, 5), float("-inf")), 1)
    torch.testing.assert_close(NormedAttention(packed)(x, attn_mask=mask), packed(x, attn_mask=mask))


@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("attention", [SelfAttention, CrossAttention])
def test_a_caller_who_says_nothing_gets_the_weights_too_as_from_torch(attention, average):
    torch.manual_seed(0)
    packed = torch.nn.MultiheadAttention(12, 3, batch_first=True).eval()
    torch.nn.init.normal_(packed.in_proj_bias)
    x, padding = torch.randn(2, 5, 12), torch.tensor([[False] * 4 + [True], [False] * 2 + [True] * 3])
    causal = torch.triu(torch.ones(5, 5), 1).bool()
    words = {"key_padding_mask": padding, "attn_mask": causal, "average_attn_weights": average}
    for found, expected in zip(attention(packed)(x, x, x, **words), packed(x, x, x, **words), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("as_scores", [True, False])
def test_padding_is_left_out_as_torch_leaves_it_out(as_scores, batch_first):
    torch.manual_seed(0)
    packed = torch.nn.MultiheadAttention(12, 3, batch_first=batch_first).eval()
    x, padding = torch.randn(2, 5, 12), torch.tensor([[False] * 4 + [True], [False] * 2 + [True] * 3])
    x = x if batch_first else x.transpose(0, 1)
    padding = torch.zeros(2, 5).masked_fill(padding, float("-inf")) if as_scores else padding
    words = {"key_padding_mask": padding, "need_weights": False}
    torch.testing.assert_close(SelfAttention(packed)(x, x, x, **words)[0], packed(x, x, x, **words)[0])


def test_what_the_unpacked_attention_cannot_do_is_refused():
    packed = torch.nn.MultiheadAttention(12, 3, batch_first=True)
    x = torch.randn(2, 5, 12)
    with pytest.raises(ValueError, match="query = key = value"):
        SelfAttention(packed)(x, x + 1, x)
    with pytest.raises(ValueError, match="scaled_cosine_attn"):
        NormedAttention(open_clip.transformer.Attention(12, 3, scaled_cosine=True))
