import numpy as np
import pytest
import torch

from reliquant.quantization.proxy import Proxy, embed, embed_all


def test_as_many_captions_as_images_are_needed():
    images = np.zeros((2, 4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match="not 1 for 2 images"):
        Proxy(images, ["one"])
    with pytest.raises(ValueError, match="not 0 for 0 images"):
        Proxy(images[:0], [])


def test_equal_captions_have_equal_numbers():
    ids = Proxy(np.zeros((4, 4, 4, 3), np.uint8), ["b", "a", "b", "c"]).caption_ids
    assert ids.tolist() == [1, 0, 1, 2]


def test_an_epoch_sees_each_pair_once_in_an_order_of_its_own(proxy):
    epochs = [np.concatenate([proxy.chosen(5 * epoch + i, 8) for i in range(5)]) for epoch in range(2)]
    for seen in epochs:
        assert sorted(seen) == list(range(40))
    assert not np.array_equal(*epochs)


def test_an_iteration_sees_the_same_pairs_whenever_it_is_asked_and_others_with_another_seed(proxy):
    late = proxy.chosen(17, 8)
    assert np.array_equal(late, Proxy(proxy.images, proxy.captions).chosen(17, 8))
    assert not np.array_equal(late, Proxy(proxy.images, proxy.captions, seed=1).chosen(17, 8))


def test_a_last_batch_that_is_too_small_is_dropped(proxy):
    seen = np.concatenate([proxy.chosen(i, 16) for i in range(2)])  # 40 pairs: two batches an epoch
    assert len(set(seen)) == 32
    assert len(proxy.chosen(2, 16)) == 16


def test_a_batch_larger_than_the_proxy_is_refused(proxy):
    with pytest.raises(ValueError, match="batch 41 is larger than the 40 pairs"):
        proxy.chosen(0, 41)


def test_pairs_come_in_order_and_belong_together(vit, proxy):
    sizes = []
    for start, (pixels, tokens, captions) in zip((0, 16, 32), proxy.in_order(vit, 16), strict=True):
        part = slice(start, start + 16)
        expected = torch.from_numpy(proxy.images[part]).permute(0, 3, 1, 2) / 255
        torch.testing.assert_close(pixels, (expected - 0.5) / 0.25)
        assert torch.equal(tokens, vit.tokenizer(proxy.captions[part]))
        assert torch.equal(captions, proxy.caption_ids[part])
        sizes.append(len(pixels))
    assert sizes == [16, 16, 8]


def test_all_pairs_are_embedded_as_they_are_batch_by_batch(vit, proxy):
    found, parts = embed_all(vit, proxy, 16), [embed(vit, *pairs) for pairs in proxy.in_order(vit, 8)]
    assert not found.image.requires_grad
    for key in ("image", "text"):
        torch.testing.assert_close(getattr(found, key), torch.cat([getattr(part, key) for part in parts]))
        torch.testing.assert_close(getattr(found, key).norm(dim=1), torch.ones(40))
    assert torch.equal(found.caption, proxy.caption_ids)
    assert found.logit_scale.item() == pytest.approx(vit.model.logit_scale.exp().item())
    assert found.logit_bias.item() == 0


def test_a_models_own_logit_bias_is_taken(vit, proxy):
    vit.model.logit_bias = torch.nn.Parameter(torch.tensor(-7.0))
    assert embed_all(vit, proxy).logit_bias.item() == -7.0
