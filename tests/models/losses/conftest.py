"""Batches of random pairs, and a softmax written out."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from reliquant.models.embedded import Embedded


@pytest.fixture
def pairs():
    """Make a batch of random pairs: unit embeddings in double precision, a logit scale of 10 and a bias of -1."""

    def made(seed, n=6, d=5, captions=None, requires_grad=False):
        generator = torch.Generator().manual_seed(seed)
        image, text = (normalize(torch.randn(n, d, generator=generator, dtype=torch.float64), dim=1) for _ in range(2))
        caption = torch.arange(n) if captions is None else torch.tensor(captions)
        scalars = torch.tensor(10.0, dtype=torch.float64), torch.tensor(-1.0, dtype=torch.float64)
        return Embedded(image.requires_grad_(requires_grad), text, *scalars, caption)

    return made


@pytest.fixture
def softmax():
    """The softmax of a row of numbers."""

    def of(row):
        exps = [math.exp(v) for v in row]
        return [e / sum(exps) for e in exps]

    return of
