"""Put a state dict into a model: other names for the same weights are understood, what does not fit is one line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import nn

from reliquant.models.checkpoint import first, some

State = dict[str, torch.Tensor]
Convert = Callable[[State], tuple[State, list[str]]]
INSIDE = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")  # parts of names that wrappers put in
BEFORE = ("module.", "model.", "base_model.model.")  # what wrappers put before the names of one module
ADAPTERS = (".lora_", ".base_layer.", ".modules_to_save.", ".ia3_")  # of PEFT, not merged
OPENAI = ("input_resolution", "context_length", "vocab_size")  # numbers that OpenAI's checkpoints hold beside weights
MERGE = "merge them first: model.merge_and_unload(), then save its state_dict()"


def load_state(
    model: nn.Module, state: Mapping[str, torch.Tensor], where: str, /, convert: Convert | None = None
) -> list[str]:
    """Load weights into a model in place, as float32; return what a person should know, a line each.

    The prefixes of common wrappers (DistributedDataParallel, Lightning, torch.compile, FSDP, PEFT) are taken off;
    `convert` may then change names and values, and says how. Raises ValueError, one line that names `where`: adapters
    that are not merged, two models in one file, weights that do not fit (shapes first, then names).
    """
    adapters = [name for name in state if any(part in name for part in ADAPTERS)]
    if adapters:
        raise ValueError(f"{where}: holds {len(adapters)} weights of adapters ({some(adapters)}); {MERGE}")
    expected = model.state_dict()
    found, notes = unwrapped(state, expected, where)
    found, told = in_float32(found)
    notes += told
    if convert:
        found, told = convert(found)
        notes += told
    _check_types(found, expected, where)
    problems = _shapes(found, expected)
    if problems:
        problems += _names([name for name in expected if name not in found], "missing")
        problems += _names([name for name in found if name not in expected], "unexpected")
    else:
        result = model.load_state_dict(found, strict=False)
        problems = _names(result.missing_keys, "missing") + _names(result.unexpected_keys, "unexpected")
    if problems:
        raise ValueError(f"{where}: the weights do not fit: {'; '.join(problems)}{_hint(found)}")
    return notes


def in_float32(state: Mapping[str, torch.Tensor], /) -> tuple[State, list[str]]:
    """Return floating-point tensors as float32, others as they are, and which types there were."""
    others: dict[str, int] = {}
    found = {}
    for name, value in state.items():
        plain = not value.dtype.is_floating_point or value.dtype == torch.float32
        found[name] = value if plain else value.float()
        if not plain:
            others[_named(value.dtype)] = others.get(_named(value.dtype), 0) + 1
    return found, [f"{count} of {len(state)} tensors are {kind}, read as float32" for kind, count in others.items()]


def unwrapped(state: Mapping[str, torch.Tensor], expected: Iterable[str], where: str, /) -> tuple[State, list[str]]:
    """Return the state under the names that a model expects, and what was taken off them."""
    expected, notes = list(expected), []
    found = {_without_parts(name): value for name, value in state.items()}
    if list(found) != list(state):
        parts = [part for part in INSIDE if any(part in name.split(".") for name in state)]
        notes.append(f"without {' and '.join(parts)} in the names of weights")
    prefix = _prefix(found, expected, where)
    if prefix:
        left = [name for name in found if not name.startswith(prefix)]
        notes.append(
            f"without {prefix!r} before the names of weights" + (f", and without {some(left)}" if left else "")
        )
        found = {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
    for module in dict.fromkeys(name.partition(".")[0] for name in expected):
        for word in BEFORE:
            found = _without(found, f"{module}.", word, expected, notes)
    numbers = [name for name in OPENAI if name in found and name not in expected]
    if numbers:
        notes.append(f"without {some(numbers)}, which are no weights")
    return {name: value for name, value in found.items() if name not in numbers}, notes


def _without_parts(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in INSIDE)


def _prefix(state: State, expected: list[str], where: str) -> str:
    """Find what stands before the names that are expected; raise ValueError where two models stand in one state."""
    anchors = {"logit_scale", expected[0], expected[len(expected) // 2], expected[-1]}
    starts = {""}
    for name in state:
        starts |= {name.removesuffix(anchor) for anchor in anchors if name.endswith(f".{anchor}")}
    fitting = {start: sum(start + name in state for name in expected) for start in sorted(starts)}
    most = max(fitting.values())
    best = [start for start, count in fitting.items() if count == most]
    if most and len(best) > 1:
        raise ValueError(f"{where}: holds {len(best)} models, under {some(best)}; save the state_dict() of one of them")
    return best[0] if most else ""


def _without(state: State, module: str, word: str, expected: list[str], notes: list[str]) -> State:
    """Take a word off after the name of one module, where all weights of the module have it."""
    inside, start = [name for name in state if name.startswith(module)], module + word
    wrapped = [name for name in inside if name.startswith(start)]
    if not wrapped or len(wrapped) != len(inside) or any(name.startswith(start) for name in expected):
        return state
    notes.append(f"without {word!r} in the names of {len(wrapped)} weights of {module}")
    return {(module + name[len(start) :] if name in wrapped else name): value for name, value in state.items()}


def _check_types(state: State, expected: State, where: str) -> None:
    """Raise ValueError where whole numbers, or complex ones, stand for weights: casting them would invent some."""
    for name, value in state.items():
        if name in expected and expected[name].dtype.is_floating_point and not value.dtype.is_floating_point:
            what = "the weights are quantized already, or no weights"
            raise ValueError(f"{where}: {name} is of type {_named(value.dtype)}: {what}; give those in floating point")


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _shapes(state: State, expected: State) -> list[str]:
    wrong = []
    for name, value in state.items():
        if name in expected and value.shape != expected[name].shape:
            wrong.append(f"{name} {tuple(value.shape)}, not {tuple(expected[name].shape)}")
    if not wrong:
        return []
    return [f"{len(wrong)} {'shape differs' if len(wrong) == 1 else 'shapes differ'} ({first(wrong)})"]


def _names(names: list[str], what: str) -> list[str]:
    return [f"{len(names)} {'is' if len(names) == 1 else 'are'} {what} ({first(names)})"] if names else []


def _hint(state: State) -> str:
    """Say whose names these are, where they are those of another library."""
    starts = {name.partition(".")[0] for name in state}
    if starts & {"vision_model", "text_model"}:
        return "; these are names of transformers, not of open_clip"
    return ""
