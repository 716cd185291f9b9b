import pytest
import torch
from torch import nn

from reliquant.models.state import load_state, unwrapped


class Model(nn.Module):
    """What open_clip's models have in common: a tower, loose parameters, a logit scale, a counter."""

    def __init__(self):
        super().__init__()
        self.visual = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.text = nn.Linear(4, 4)
        self.logit_scale = nn.Parameter(torch.tensor(2.0))


@pytest.fixture
def model():
    torch.manual_seed(1)
    return Model()


@pytest.fixture
def state():
    torch.manual_seed(0)
    return Model().state_dict()


def loaded(model, state):
    notes = load_state(model, state, "a.pt")
    return {name: value.clone() for name, value in model.state_dict().items()}, notes


def refused(model, state):
    with pytest.raises(ValueError, match=r"^a\.pt: ") as refusal:
        load_state(model, state, "a.pt")
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 500
    return str(refusal.value).removeprefix("a.pt: ")


@pytest.mark.parametrize(
    ("rename", "notes"),
    [
        ("{}", []),
        ("module.{}", ["without 'module.' before the names of weights"]),
        ("model.{}", ["without 'model.' before the names of weights"]),
        ("base_model.model.{}", ["without 'base_model.model.' before the names of weights"]),
        ("student.clip.{}", ["without 'student.clip.' before the names of weights"]),
        ("_orig_mod.{}", ["without _orig_mod in the names of weights"]),
        (
            "module._orig_mod.{}",
            ["without _orig_mod in the names of weights", "without 'module.' before the names of weights"],
        ),
    ],
)
def test_prefixes_of_wrappers_are_taken_off_and_said(model, state, rename, notes):
    found, told = loaded(model, {rename.format(name): value for name, value in state.items()})
    assert all(torch.equal(found[name], value) for name, value in state.items())
    assert told == notes


@pytest.mark.parametrize("word", ["module.", "model.", "base_model.model.", "_orig_mod."])
def test_a_prefix_of_one_tower_is_taken_off_and_said(model, state, word):
    wrapped = {name.replace("visual.", f"visual.{word}"): value for name, value in state.items()}
    found, told = loaded(model, wrapped)
    assert all(torch.equal(found[name], value) for name, value in state.items())
    assert len(told) == 1


def test_what_stands_beside_the_model_is_left_out_and_counted(model, state):
    wrapped = {f"model.{name}": value for name, value in state.items()}
    wrapped |= {f"loss.{i}": torch.zeros(1) for i in range(5)}
    _, told = loaded(model, wrapped)
    said = "without 'model.' before the names of weights, and without loss.0, loss.1, loss.2, ... (5 in all)"
    assert told == [said]


def test_two_models_in_one_file_are_not_chosen_between(model, state):
    both = {f"{name}.{key}": value for name in ("student", "teacher") for key, value in state.items()}
    assert refused(model, both) == "holds 2 models, under student., teacher.; save the state_dict() of one of them"


def test_adapters_that_are_not_merged_are_refused(model, state):
    lora = {
        **state,
        "visual.0.lora_A.default.weight": torch.zeros(2, 3),
        "visual.0.lora_B.default.weight": torch.zeros(1),
    }
    told = refused(model, lora)
    assert told.startswith(
        "holds 2 weights of adapters (visual.0.lora_A.default.weight, visual.0.lora_B.default.weight)"
    )
    assert told.endswith("merge them first: model.merge_and_unload(), then save its state_dict()")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_point_types_become_float32_and_are_said(model, state, dtype):
    saved = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}
    found, told = loaded(model, saved)
    assert all(torch.equal(found[name], value.float()) for name, value in saved.items() if value.is_floating_point())
    assert {value.dtype for value in found.values()} == {torch.float32, torch.int64}
    assert told == [f"9 of 10 tensors are {str(dtype).removeprefix('torch.')}, read as float32"]


def test_whole_numbers_are_no_weights(model, state):
    said = "text.weight is of type int8: the weights are quantized already, or no weights; give those in floating point"
    assert refused(model, {**state, "text.weight": torch.ones(4, 4, dtype=torch.int8)}) == said


def test_what_does_not_fit_is_told_in_one_line_shapes_first(model, state):
    del state["text.bias"]
    wrong = {**state, "visual.0.weight": torch.zeros(5, 3), "extra": torch.zeros(1)}
    said = "1 shape differs (visual.0.weight (5, 3), not (4, 3)); 1 is missing (text.bias); 1 is unexpected (extra)"
    assert refused(model, wrong) == f"the weights do not fit: {said}"
    many = {f"layer.{i}.weight": torch.zeros(1) for i in range(1000)}
    told = refused(model, many)
    assert "9 are missing (logit_scale, visual.0.weight, visual.0.bias, ...)" in told
    assert "1000 are unexpected (layer.0.weight, layer.1.weight, layer.2.weight, ...)" in told


def test_names_of_transformers_are_known_as_such(model):
    told = refused(model, {"vision_model.post_layernorm.weight": torch.zeros(2), "logit_scale": torch.zeros(())})
    assert told.endswith("these are names of transformers, not of open_clip")


def test_a_module_that_is_really_called_so_keeps_its_name():
    state = {"visual.model.weight": torch.zeros(1), "logit_scale": torch.zeros(1)}
    found, notes = unwrapped(state, list(state), "a.pt")
    assert (list(found), notes) == (list(state), [])


def test_numbers_of_openais_checkpoints_are_left_out(model, state):
    _, told = loaded(model, {**state, "input_resolution": torch.tensor(224), "vocab_size": torch.tensor(49408)})
    assert told == ["without input_resolution, vocab_size, which are no weights"]
