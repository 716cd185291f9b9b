import json

import pytest


@pytest.fixture(scope="module")
def align(tmp_path_factory):
    """A small ALIGN as transformers writes it; its tower entry."""
    import torch

    import reliquant.models.openclip  # noqa: F401  must come first

    # isort: split
    transformers = pytest.importorskip("transformers", reason="the extra `huggingface` is not installed")
    folder = tmp_path_factory.mktemp("align")
    words = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    text = transformers.AlignTextConfig(vocab_size=64, max_position_embeddings=16, **words)
    blocks = {"in_channels": [32, 8], "out_channels": [8, 16], "kernel_sizes": [3, 3], "strides": [1, 2]}
    rest = {"num_block_repeats": [1, 1], "expand_ratios": [1, 6], "width_coefficient": 1.0, "depth_coefficient": 1.0}
    vision = transformers.AlignVisionConfig(image_size=28, hidden_dim=32, depthwise_padding=[], **blocks, **rest)
    torch.manual_seed(0)
    config = transformers.AlignConfig(text_config=text, vision_config=vision, projection_dim=16)
    transformers.AlignModel(config).save_pretrained(folder)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "star", "circle"]))
    transformers.BertTokenizer(str(vocabulary), model_max_length=12).save_pretrained(folder)
    sizes = {"size": {"height": 32, "width": 32}, "crop_size": {"height": 28, "width": 28}, "do_center_crop": True}
    facts = {**sizes, "rescale_factor": 1 / 127.5, "rescale_offset": True, "do_normalize": False, "resample": 2}
    (folder / "preprocessor_config.json").write_text(json.dumps(facts))
    return {"tower": "huggingface", "architecture": str(folder)}
