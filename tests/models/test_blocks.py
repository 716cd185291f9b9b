from collections import OrderedDict

import pytest
from torch import nn

from reliquant.models.blocks import Tower, blocks_of, described


class Block(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.norm, self.fc1, self.fc2 = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)


class Other(Block):
    pass


class Stage(nn.Module):
    """Downsampling and blocks, as ConvNeXt and Swin have it; the name of the list is free."""

    def __init__(self, depth, name="blocks"):
        super().__init__()
        self.downsample = nn.Conv2d(8, 8, 2)
        self.add_module(name, nn.Sequential(*(Block() for _ in range(depth))))


class Numbered(nn.Module):
    """A RegNet's stage: blocks are its own children."""

    def __init__(self, depth):
        super().__init__()
        for i in range(1, depth + 1):
            self.add_module(f"b{i}", Block())


def tree(**children):
    module = nn.Module()
    for name, child in children.items():
        module.add_module(name, child)
    return module


def found(module, read=None):
    model = tree(visual=module)
    names = [name for name, _ in model.named_parameters()]
    return [name.removeprefix("visual.") for name in blocks_of(Tower(model, ["visual"], read or names))]


def blocks(count, kind=Block):
    return [kind() for _ in range(count)]


def named(members):
    return nn.ModuleDict({f"x{i}": member for i, member in enumerate(members)})


@pytest.mark.parametrize("rows", [nn.ModuleList, lambda members: nn.Sequential(*members), named])
@pytest.mark.parametrize("count", [1, 3])
def test_the_members_of_a_list_are_blocks_whatever_its_name(rows, count):
    module = tree(stem=nn.Conv2d(3, 8, 4), encoder=tree(body=rows(blocks(count))), head=nn.Linear(8, 4))
    names = [f"encoder.body.{name}" for name in module.encoder.body._modules]
    assert found(module) == names


def test_children_of_one_class_are_blocks_without_a_list():
    module = tree(stem=nn.Conv2d(3, 8, 4), b1=Block(), b2=Block(), pool=Other(), head=nn.Linear(8, 4))
    assert found(module) == ["b1", "b2"]


def test_stages_without_a_known_name_leave_their_downsampling_out():
    module = tree(stem=nn.Conv2d(3, 8, 4), parts=nn.Sequential(Stage(1), Stage(2, name="inner")))
    assert found(module) == ["parts.0.blocks.0", "parts.1.inner.0", "parts.1.inner.1"]


def test_where_stages_and_blocks_could_both_be_meant_a_known_name_decides():
    module = tree(stem=nn.Conv2d(3, 8, 4), layers=nn.Sequential(Stage(1), Stage(2)))
    assert found(module) == ["layers.0", "layers.1"]


def test_a_stage_of_one_block_without_a_list_is_known_by_the_class_of_the_others():
    assert found(tree(s1=Numbered(1), s2=Numbered(3))) == ["s1.b1", "s2.b1", "s2.b2", "s2.b3"]


def test_lists_of_blocks_as_children_are_stages_as_in_a_resnet():
    module = tree(layer1=nn.Sequential(Block()), layer2=nn.Sequential(Block()), attnpool=nn.Linear(8, 400))
    assert found(module) == ["layer1.0", "layer2.0"]


def test_a_stem_and_a_head_beside_the_list_of_blocks_are_none():
    stem, head = (
        nn.Sequential(nn.Conv2d(3, 8, 4), nn.ReLU()),
        nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)),
    )
    module = nn.Sequential(OrderedDict(stem=stem, body=nn.Sequential(*blocks(2)), head=head))
    assert found(module) == ["body.0", "body.1"]


def test_a_block_of_two_lists_is_a_block():
    """timm's parallel blocks: attention and MLPs in a list each."""
    parallel = [tree(attns=nn.ModuleList(blocks(2)), ffns=nn.ModuleList(blocks(2, Other))) for _ in range(2)]
    assert found(tree(blocks=nn.ModuleList(parallel))) == ["blocks.0", "blocks.1"]
    assert found(tree(body=nn.ModuleList(parallel))) == ["body.0", "body.1"]


def test_a_second_row_of_some_weight_holds_blocks_and_a_light_one_does_not():
    assert found(tree(a=nn.ModuleList(blocks(4)), b=nn.ModuleList(blocks(1)))) == ["a.0", "a.1", "a.2", "a.3", "b.0"]
    light = tree(fc1=nn.Linear(1, 1), fc2=nn.Linear(1, 1))
    assert found(tree(a=nn.ModuleList(blocks(4)), stem=nn.ModuleList([light, light]))) == ["a.0", "a.1", "a.2", "a.3"]


def test_what_no_forward_reads_is_no_block():
    module = tree(a=nn.ModuleList(blocks(1)), b=nn.ModuleList(blocks(4)))
    read = [f"visual.a.0.{fc}.weight" for fc in ("fc1", "fc2")]
    assert found(module, read) == ["a.0"]


def test_embeddings_weigh_nothing():
    tables = [tree(words=nn.Embedding(99, 99), places=nn.Embedding(99, 99)) for _ in range(2)]
    assert found(tree(tables=nn.ModuleList(tables), body=nn.ModuleList(blocks(1)))) == ["body.0"]


def test_a_tower_without_any_row_has_no_blocks_and_is_described():
    module = tree(stem=nn.Conv2d(3, 8, 4), one=Block(), head=nn.Linear(8, 4))
    assert found(module) == []
    model = tree(visual=module)
    said = described(Tower(model, ["visual"], [name for name, _ in model.named_parameters()]))
    assert said == {"visual": "Module", "visual.stem": "Conv2d", "visual.one": "Block", "visual.head": "Linear"}
