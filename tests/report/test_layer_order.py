import pytest

from reliquant.report.layer_order import block_number, in_order


def test_layers_come_as_they_run():
    parts = ["attn.qkv", "attn.out_proj", "mlp.c_fc", "mlp.c_proj"]
    names = [f"visual.transformer.resblocks.{i}.{part}" for i in (0, 2, 10) for part in parts]
    mixed = [*names[5:], *names[:5]]
    assert sorted(mixed, key=in_order) == names


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("visual.transformer.resblocks.3.mlp.c_fc", "3"),
        ("visual.transformer.resblocks.11", "11"),
        ("visual.trunk.stages.1.blocks.0.conv_dw", "1.0"),
        ("visual.conv1", ""),
    ],
)
def test_a_layer_s_block_is_read_from_its_name(name, block):
    assert block_number(name) == block
