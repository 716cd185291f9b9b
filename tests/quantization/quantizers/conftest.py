import copy

import pytest
import torch


@pytest.fixture(scope="session")
def clip_of(new_clip):
    """A function: a copy of the tiny random CLIP of a kind, which is built once, and whose parts are found once."""
    built = {}

    def copied(kind):
        torch.manual_seed(0)  # as for one that is built for a test alone
        if kind not in built:
            built[kind] = new_clip(kind)
        return built[kind].with_model(copy.deepcopy(built[kind].model))

    return copied


@pytest.fixture(params=["vit", "convnext"])
def clip(request, clip_of):
    """A tiny random CLIP whose tokenizer numbers characters."""
    return clip_of(request.param)


@pytest.fixture
def vit(clip_of):
    """The tiny random CLIP with a ViT."""
    return clip_of("vit")


@pytest.fixture
def convnext(clip_of):
    """The tiny random CLIP with a ConvNeXt."""
    return clip_of("convnext")
