from reliquant.cli.equal_layers import grouped


def product(module, weight="int4"):
    return {"module": module, "weight": weight}


def told(names, **weights):
    return [(name, len(group)) for name, group in grouped([product(n, weights.get(n, "int4")) for n in names])]


def test_layers_of_all_blocks_are_one_line_in_the_order_of_the_first():
    names = [f"blocks.{i}.{layer}" for i in range(3) for layer in ("qkv", "fc")]
    assert told(["conv", *names]) == [("conv", 1), ("blocks.{0..2}.qkv", 3), ("blocks.{0..2}.fc", 3)]


def test_a_layer_that_differs_stays_alone_and_the_others_name_what_they_are():
    names = [f"blocks.{i}" for i in range(6)]
    found = grouped([product(name, "fp32" if name in ("blocks.0", "blocks.3") else "int4") for name in names])
    assert [name for name, _ in found] == ["blocks.{0,3}", "blocks.{1,2,4,5}"]


def test_only_one_number_varies_in_a_name_so_that_it_names_exactly_its_layers():
    names = [f"stages.{i}.blocks.{j}" for i, depth in enumerate((2, 3)) for j in range(depth)]
    assert told(names) == [("stages.0.blocks.{0,1}", 2), ("stages.1.blocks.{0..2}", 3)]


def test_numbers_that_stand_for_another_layer_of_the_same_block_are_not_taken_for_blocks():
    names = [f"blocks.{i}.mlp.{j}" for i in range(4) for j in (0, 2)]
    assert told(names) == [("blocks.{0..3}.mlp.0", 4), ("blocks.{0..3}.mlp.2", 4)]


def test_every_product_is_in_one_group():
    names = ["a", "a.1", "a.2", "b.1.c.1", "b.2.c.2", "", "a.1"]
    assert sorted(p["module"] for _, group in grouped([product(n) for n in names]) for p in group) == sorted(names)
