import copy
import json
import re

import pytest
import torch
from torch import nn

from reliquant.layers.surgery import targets
from reliquant.models.clip import Clip
from reliquant.models.openclip import open_clip
from reliquant.models.parts import Parts
from reliquant.models.shapes import shapes_only

# how layers were chosen when names alone decided
BY_NAME = re.compile(r"(^|\.)(resblocks|blocks|layers?\d*)\.\d+\.")
LARGEST = 1.1e9  # parameters; the larger ones are deeper forms of those below
WHOLE = ("ViT-B-32", "RN50", "coca_ViT-B-32")  # of open_clip's own towers; others of them have three layers, all alike


class Mlp(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.a, self.b = nn.Linear(width, 16), nn.Linear(16, width)

    def forward(self, x):
        return x + self.b(torch.relu(self.a(x)))


class Foreign(nn.Module):
    """A pair of towers whose names say nothing: an inner model, a shared part, something that never runs."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Module()
        self.inner.eyes = nn.ModuleDict({"p": nn.Conv2d(3, 8, 8, 8), "q": nn.Sequential(Mlp(), Mlp())})
        self.inner.words = nn.Embedding(50, 8)
        self.inner.reader = nn.ModuleList([Mlp(), Mlp(), Mlp()])
        self.inner.reader[0].never = nn.Linear(8, 8)
        self.joint = Mlp()
        self.to_joint = nn.Parameter(torch.randn(8, 8))
        self.writer = nn.ModuleList([Mlp()])
        self.logit_scale = nn.Parameter(torch.tensor(1.0))

    def encode_image(self, x, normalize=False):
        x = self.inner.eyes["p"](x).flatten(2).mean(2)
        return self.joint(self.inner.eyes["q"](x))

    def encode_text(self, tokens, normalize=False):
        x = self.inner.words(tokens).mean(1)
        for block in self.inner.reader:
            x = block(x)
        return self.joint(x @ self.to_joint)


def tokens(texts):
    return torch.ones(len(texts), 4, dtype=torch.long)


def clip_of(model, **words):
    return Clip(model, tokens, 16, (0.5,) * 3, (0.5,) * 3, **words)


def test_towers_are_what_their_forwards_run_and_read_whatever_the_names():
    parts = clip_of(Foreign()).parts
    assert parts.image == ("inner.eyes", "joint")
    assert parts.text == ("inner.words", "inner.reader", "joint", "to_joint")
    assert parts.blocks == ("inner.eyes.q.0", "inner.eyes.q.1", *(f"inner.reader.{i}" for i in range(3)))
    assert parts.in_tower("joint.a", "image")
    assert parts.in_tower("joint.a", "text")
    assert not any(parts.in_scope(name, "both") for name in ("writer.0.a", "logit_scale", "", "inner"))


def test_scopes_take_the_towers_that_they_name():
    parts = clip_of(Foreign()).parts
    assert [parts.in_scope("inner.eyes.p.weight", scope) for scope in ("none", "image", "both")] == [False, True, True]
    assert [parts.in_scope("to_joint", scope) for scope in ("none", "image", "both")] == [False, False, True]


def test_a_layer_that_nothing_reads_is_idle_and_no_target():
    clip = clip_of(Foreign())
    assert "inner.reader.0.never" in clip.parts.idle
    assert targets(clip, "both") == [f"{block}.{layer}" for block in clip.parts.blocks for layer in "ab"]
    assert not clip.parts.is_in_block("inner.reader.0.never.weight")


def test_what_a_tower_says_of_itself_counts_and_may_use_patterns():
    parts = clip_of(
        Foreign(), image=("inner.eyes",), text=("inner.*", "to_joint"), blocks=("inner.reader.*", "joint")
    ).parts
    assert parts.image == ("inner.eyes",)
    assert parts.text == ("inner.eyes", "inner.words", "inner.reader", "to_joint")
    assert parts.blocks == ("inner.reader.0", "inner.reader.1", "inner.reader.2", "joint")
    assert parts.block_of("joint") == "joint"


def test_a_name_that_fits_nothing_is_refused_with_what_there_is():
    with pytest.raises(
        ValueError, match=r"blocks: 'visual\.\*' fits no module; the model's outer modules are inner, j"
    ):
        assert clip_of(Foreign(), blocks=("visual.*",)).parts
    with pytest.raises(ValueError, match="image: 'visual' fits no module"):
        assert clip_of(Foreign(), image=("visual",)).parts


def test_a_forward_that_fails_is_named():
    model = Foreign()
    model.inner.eyes["p"] = nn.Conv2d(4, 8, 8, 8)
    with pytest.raises(ValueError, match="the model cannot encode_image one input: RuntimeError"):
        assert clip_of(model).parts


def test_the_outermost_block_that_holds_a_name_is_its_block():
    parts = Parts(("v",), (), ("v.0", "v.0.inner.1", "v.10"))
    assert [parts.block_of(name) for name in ("v.0.inner.1.fc", "v.10.fc", "v.1.fc", "v")] == ["v.0", "v.10", "", ""]


def test_attention_that_is_called_with_another_query_is_told_apart():
    class Pooled(Foreign):
        def __init__(self):
            super().__init__()
            self.crossing, self.plain = (nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(2))

        def encode_image(self, x, normalize=False):
            x = self.inner.eyes["p"](x).flatten(2).transpose(1, 2)
            x = self.plain(x, x, x, need_weights=False)[0]
            return self.crossing(x[:, :1], key=x, value=x, need_weights=False)[0][:, 0]

    assert clip_of(Pooled()).parts.crossed == {"crossing"}


def test_a_changed_copy_of_a_model_keeps_the_parts_that_were_found(vit):
    parts = vit.parts
    assert vit.with_model(nn.Identity()).parts is parts


def test_parts_are_the_same_on_a_copy_with_twins(clip, proxy):
    from reliquant.quantization.checkpoints import Checkpoints
    from reliquant.quantization.quantize import quantize

    before = clip.parts
    grids = {"weight": {"bits": 4}, "activation": {"bits": 8}}
    quantize(clip, {"quantizer": "quarot", **grids}, "both", proxy, Checkpoints())
    again = Clip(clip.model, clip.tokenizer, clip.size, clip.mean, clip.std).parts
    assert (again.image, again.text, again.blocks) == (before.image, before.text, before.blocks)


def built(name):
    """Build an architecture of open_clip on the meta device, without weights; None where it needs transformers."""
    config = copy.deepcopy(open_clip.get_model_config(name))
    if config["text_cfg"].get("hf_model_name"):
        return None
    for part in ("vision_cfg", "text_cfg", "multimodal_cfg") if name not in WHOLE else ():
        layers = config.get(part, {}).get("layers", 12)
        if part in config:
            config[part]["layers"] = [min(2, n) for n in layers] if isinstance(layers, list) else min(3, layers)
    kind = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
    with torch.device("meta"), shapes_only():  # which works out once what the drawing of weights gives
        return (open_clip.CoCa if "multimodal_cfg" in config else kind)(**config).eval()


@pytest.fixture(scope="module")
def seen():
    """What was looked at: the modules of a model, and the words of its config without numbers."""
    return set()


@pytest.mark.parametrize("name", open_clip.list_models())
def test_every_architecture_of_open_clip_keeps_the_layers_that_its_names_gave(name, seen):
    model = built(name)
    if model is None or sum(p.numel() for p in model.parameters()) > LARGEST:
        pytest.skip("needs transformers, or is a larger form of another")
    words = re.sub(r"\d+", "", json.dumps(open_clip.get_model_config(name)))
    kind = words, tuple((path, type(module)) for path, module in model.named_modules())
    if kind in seen:
        pytest.skip("differs from another in its sizes alone")
    seen.add(kind)
    context = model.context_length
    size = model.visual.image_size
    clip = Clip(model, lambda texts: torch.ones(1, context, dtype=torch.long), size, (0.5,) * 3, (0.5,) * 3)
    for scope, start in (("image", "visual."), ("both", "")):
        named = [n for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d) and BY_NAME.search(n)]
        named = [n for n in named if n.startswith(start) and not n.startswith("text_decoder.")]
        kept = [n for n in named if not n.endswith("attn.out_proj")]  # packed: it is read, but never called
        found = [n for n in targets(clip, scope) if not n.endswith("attn.out_proj")]
        assert found == kept
        assert found
