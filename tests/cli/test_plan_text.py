from reliquant.cli.plan_text import UNITS, model_text

PRODUCTS = [
    {"module": "conv1", "weight": "fp32", "activation": "fp32", "macs": 2_500_000, "reason": "outside the blocks"},
    *(
        {"module": f"blocks.{i}.fc", "weight": "int4 / channel", "activation": "fp32", "macs": 1e6, "reason": ""}
        for i in range(12)
    ),
    {"module": "blocks.12.fc", "weight": "int4 / channel", "activation": "int8", "macs": 1e6, "reason": "why not"},
    {"module": "", "weight": "fp32", "activation": "fp32", "macs": 0, "reason": "no matrix product"},
]
PLAN = {"products": PRODUCTS, "shares": {"share": 0.5}, "compensation": None, "from_data": False, "by_shapes": False}


def test_equal_layers_are_one_line_with_their_number():
    lines = model_text(PLAN | {"warning": ""}).splitlines()
    assert [line.split() for line in lines[1:5]] == [
        ["conv1", "1", "2.50", "fp32:", "outside", "the", "blocks"],
        ["blocks.{0..11}.fc", "12", "1.00", "int4", "/", "channel", "fp32"],
        ["blocks.12.fc", "1", "1.00", "int4", "/", "channel", "int8", "(why", "not)"],
        ["(the", "model", "itself)", "1", "fp32:", "no", "matrix", "product"],
    ]
    assert UNITS in lines
    assert "share: 50.0%" in lines


def test_each_layer_has_a_line_where_that_is_asked_for():
    lines = model_text(PLAN | {"warning": "few"}, each=True).splitlines()
    assert sum(line.startswith("blocks.") for line in lines) == 13
    assert "layers" not in lines[0]
    assert lines[-1] == "warning: few"
