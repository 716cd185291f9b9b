"""The words that a config may give each quantizer, their types and defaults: whoever changes one changes results."""

import pytest

from reliquant import plugins

GRIDS = {"weight": ("Grid", ...), "activation": ("Grid", ...)}
TRAINING = GRIDS | {
    "losses": ("list[dict]", [{"loss": "contrastive"}]),
    "iterations": ("int", 200),
    "batch": ("int", 64),
    "lr": ("float", 1e-05),
    "scale_lr": ("float", 0.001),
    "weight_decay": ("float", 0.01),
    "clip_norm": ("float", 1.0),
    "warmup": ("float", 0.1),
    "schedule": ("Literal['cosine', 'constant']", "cosine"),
    "bf16": ("bool", False),
    "snapshots": ("list[int]", []),
}
COUNT = "Annotated[int, Field(ge=1)]"
NOT_NEGATIVE = "Annotated[float, Field(ge=0, allow_inf_nan=False)]"
BELOW_ONE = "Annotated[float, Field(ge=0, lt=1)]"
WORDS = {
    "awq": GRIDS
    | {
        "alphas": ("int", 20),
        "shares": ("int", 10),
        "momentum": ("float", 0.1),
        "batch": ("int", 64),
        "pairs": ("int", 256),
    },
    "distill": TRAINING | {"losses": ("list[dict]", [{"loss": "distillation"}]), "momentum": ("float", 0.1)},
    "dorefa": TRAINING | {"momentum": ("float", 0.1)},
    "erq": GRIDS
    | {
        "ridge": ("Annotated[float, Field(gt=0, allow_inf_nan=False)]", 0.1),
        "flips": ("Annotated[int, Field(ge=0)]", 100),
        "momentum": ("Annotated[float, Field(gt=0, le=1)]", 0.1),
        "batch": (COUNT, 64),
        "pairs": (COUNT, 256),
    },
    "gptq": GRIDS
    | {
        "damp": ("float", 0.01),
        "block": ("int", 128),
        "act_order": ("bool", False),
        "momentum": ("float", 0.1),
        "batch": ("int", 64),
        "pairs": ("int", 256),
    },
    "hqq": GRIDS
    | {
        "grid": ("Literal['own', 'scheme']", "own"),
        "group": ("int", 64),
        "norm": ("float", 0.7),
        "beta": ("float", 10.0),
        "kappa": ("float", 1.01),
        "iterations": ("int", 20),
        "momentum": ("float", 0.1),
        "batch": ("int", 64),
        "pairs": ("int", 512),
    },
    "llm_int8": GRIDS
    | {"threshold": ("float", 6.0), "momentum": ("float", 0.1), "batch": ("int", 64), "pairs": ("int", 512)},
    "lsq": TRAINING | {"weights": ("Literal['absmax', 'learned']", "absmax"), "momentum": ("float", 0.1)},
    "lsq_mse": TRAINING
    | {"losses": ("list[dict]", [{"loss": "contrastive"}, {"loss": "feature_mse"}]), "momentum": ("float", 0.1)},
    "lsq_plus": TRAINING | {"sample": ("int", 16384), "candidates": ("int", 60), "smallest": ("float", 0.2)},
    "mixed": GRIDS
    | {
        "method": ("str", "rtn"),
        "words": ("dict[str, Any]", {}),
        "choices": ("list[int | str]", [2, 3, 4, 8]),
        "measure": ("Literal['output_error', 'accuracy', 'nll', 'calibration', 'ood_gap']", "output_error"),
        "budget": ("Annotated[float | None, Field(allow_inf_nan=False)]", None),
        "budget_bytes": ("int | None", None),
        "samples": (COUNT, 128),
        "batch": (COUNT, 16),
    },
    "mse": GRIDS
    | {
        "candidates": ("int", 60),
        "smallest": ("float", 0.02),
        "sample": ("int", 16384),
        "batch": ("int", 64),
        "pairs": ("int", 512),
    },
    "none": {},
    "pact": TRAINING | {"alpha_l2": ("float", 0.0001), "momentum": ("float", 0.1)},
    "paretoq": TRAINING | {"momentum": ("float", 0.1)},
    "percentile": GRIDS
    | {
        "percent": ("float", 99.99),
        "weight_percent": ("float", 100.0),
        "momentum": ("float", 0.1),
        "batch": ("int", 64),
        "pairs": ("int", 512),
    },
    "qdrop": GRIDS
    | {
        "steps": ("Annotated[int, Field(ge=0)]", 1000),
        "lr": (NOT_NEGATIVE, 0.01),
        "scale_lr": (NOT_NEGATIVE, 0.001),
        "drop": (BELOW_ONE, 0.5),
        "decision": (NOT_NEGATIVE, 0.01),
        "warmup": (BELOW_ONE, 0.2),
        "batch": (COUNT, 32),
        "pairs": (COUNT, 256),
    },
    "quarot": GRIDS
    | {
        "weights": ("Literal['rtn', 'gptq']", "rtn"),
        "damp": ("float", 0.01),
        "block": ("int", 128),
        "act_order": ("bool", False),
        "momentum": ("float", 0.1),
        "batch": ("int", 64),
        "pairs": ("int", 256),
    },
    "raana": GRIDS
    | {
        "choices": ("list[Bits]", [2, 3, 4, 5, 6, 7, 8]),
        "allocate": ("bool", True),
        "centralize": ("bool", True),
        "kept": ("float", 0.003),
        "samples": ("int", 16),
        "candidates": ("int", 64),
        "momentum": ("float", 0.1),
        "batch": ("int", 64),
        "pairs": ("int", 512),
    },
    "repq": GRIDS | {"momentum": ("float", 0.1), "batch": ("int", 64), "pairs": ("int", 512)},
    "rot_lsq": TRAINING | {"momentum": ("float", 0.1)},
    "rtn": GRIDS | {"momentum": ("float", 0.1), "batch": ("int", 64), "pairs": ("int", 512)},
    "smoothquant": GRIDS
    | {"alpha": ("float", 0.5), "momentum": ("float", 0.1), "batch": ("int", 64), "pairs": ("int", 512)},
    "statsq": TRAINING | {"momentum": ("float", 0.1)},
    "ste": TRAINING | {"momentum": ("float", 0.1)},
}


def test_every_quantizer_is_in_the_table():
    assert sorted(WORDS) == plugins.names("quantizer")


@pytest.mark.parametrize("name", WORDS)
def test_a_quantizer_takes_these_words_with_these_types_and_defaults(name):
    assert plugins.words(plugins.source("quantizer", name), "quantizer") == WORDS[name]


@pytest.mark.parametrize("name", [name for name in WORDS if name != "none"])
def test_a_bound_quantizer_knows_given_words_and_defaults(name):
    grids = {"weight": {"bits": 4}, "activation": {"bits": 8}}
    bound = plugins.bound(plugins.load("quantizer", {"quantizer": name, **grids, "batch": 7}))
    wanted = {word: default for word, (_, default) in WORDS[name].items()} | {"batch": 7}
    assert {w: v for w, v in bound.items() if w not in grids} == {w: v for w, v in wanted.items() if w not in grids}
    assert (bound["weight"].bits, bound["activation"].bits) == (4, 8)


@pytest.mark.parametrize(
    ("name", "word", "value", "told"),
    [
        ("qdrop", "drop", 1.5, "should be less than 1"),
        ("qdrop", "steps", -1, "should be greater than or equal to 0"),
        ("qdrop", "lr", float("inf"), "should be a finite number"),
        ("qdrop", "warmup", float("nan"), "should be less than 1"),
        ("qdrop", "pairs", 0, "should be greater than or equal to 1"),
        ("erq", "ridge", 0, "should be greater than 0"),
        ("erq", "ridge", float("inf"), "should be a finite number"),
        ("erq", "flips", -1, "should be greater than or equal to 0"),
        ("mixed", "samples", 0, "should be greater than or equal to 1"),
        ("mixed", "budget", float("nan"), "should be a finite number"),
        ("mixed", "budget", float("inf"), "should be a finite number"),
    ],
)
def test_values_that_are_wrong_whatever_the_data_are_told_before_any_job(name, word, value, told):
    entry = {"quantizer": name, "weight": {"bits": 4}, "activation": {"bits": 8}, word: value}
    (problem,) = plugins.check("quantizer", entry)
    assert problem == f"{word}: Input {told}, got {value!r}"
