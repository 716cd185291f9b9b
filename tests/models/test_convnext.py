import torch

from reliquant.models.convnext import reliquant_convnext32
from reliquant.models.openclip import open_clip


def test_the_first_stage_sees_eight_by_eight_positions():
    model = reliquant_convnext32(num_classes=7)
    assert model.stem(torch.zeros(2, 3, 32, 32)).shape == (2, 64, 8, 8)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert sum(p.numel() for p in model.parameters()) < 1_200_000


def test_open_clip_builds_it_by_name():
    vision = {"timm_model_name": "reliquant_convnext32", "timm_pool": "", "timm_proj": "linear", "image_size": 32}
    clip = open_clip.CLIP(16, vision, {"context_length": 8, "vocab_size": 10, "width": 16, "heads": 2, "layers": 1})
    assert clip.encode_image(torch.zeros(2, 3, 32, 32)).shape == (2, 16)
