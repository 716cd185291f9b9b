import numpy as np
import pytest
import torch

from reliquant import plugins
from reliquant.models.towers.huggingface import _mean_and_std
from reliquant.quantization.proxy import Proxy, embed


def test_align_computes_what_transformers_computes(align):
    transformers = pytest.importorskip("transformers")
    folder = align["architecture"]
    clip, model = plugins.load("tower", align)(None), transformers.AlignModel.from_pretrained(folder).eval()
    image = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    pairs = Proxy(image, ["a red star", "a circle"])
    words = transformers.AutoTokenizer.from_pretrained(folder)(
        pairs.captions, padding="max_length", max_length=12, return_tensors="pt"
    )
    pixels = torch.from_numpy(image).permute(0, 3, 1, 2)[..., 2:30, 2:30] / 127.5 - 1  # the centre, from -1 to 1
    with torch.no_grad():
        theirs = model(pixel_values=pixels, **words)
        ours = embed(clip, *pairs.take(clip, np.arange(2)))
    torch.testing.assert_close(ours.image, theirs.image_embeds, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.text, theirs.text_embeds, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.logits, theirs.logits_per_image, atol=1e-4, rtol=1e-4)


def test_align_says_what_it_needs_and_what_it_cannot_open(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ValueError, match=r"needs transformers: pip install 'reliquant\[huggingface\]'"):
        plugins.load("tower", {"tower": "huggingface", "architecture": str(tmp_path)})(None)


def test_rescaling_and_normalising_become_one_mean_and_std():
    pixel = 200.0  # of 255

    def level(facts):
        mean, std = _mean_and_std(facts)
        return [(pixel / 255 - m) / s for m, s in zip(mean, std, strict=True)]

    assert level({"do_normalize": False}) == pytest.approx([pixel / 255] * 3)
    half = {"rescale_factor": 1 / 127.5, "rescale_offset": True, "do_normalize": False}
    assert level(half) == pytest.approx([pixel / 127.5 - 1] * 3)
    further = {**half, "do_normalize": True, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.25, 2.0]}
    assert level(further) == pytest.approx(
        [(pixel / 127.5 - 1 - m) / s for m, s in ((0.1, 0.5), (0.2, 0.25), (0.3, 2))]
    )
