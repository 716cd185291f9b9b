"""Reliability under quantization: how far can a vision-language model be quantized before it cannot be trusted?

What a notebook needs is here under one name each and is imported on first use: `import reliquant` itself is cheap.
`docs/api.md` shows them at work; `__init__.pyi` names them for editors and type checkers.
"""

from importlib import import_module

__version__ = "0.1.0"

_PLACES = {  # name -> the module that holds it
    "open_model": "models.open",
    "open_images": "images.open",
    "quantize_model": "quantization.quantize_model",
    "load_variant": "layers.variant",
    "embed_images": "evaluation.embed",
    "measure_features": "evaluation.measure",
    "measure_probabilities": "evaluation.measure",
    "read_rows": "artifacts",
    "compare": "report.compare",
    "recommend": "report.recommend",
    "draw_figure": "report.draw",
    "make_table": "report.draw",
}
__all__ = ["__version__", *_PLACES]


def __getattr__(name: str) -> object:
    """Import a name of the API from its module."""
    if name not in _PLACES:
        raise AttributeError(f"module 'reliquant' has no attribute {name!r}; there are {', '.join(_PLACES)}")
    return getattr(import_module(f"reliquant.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    """List the API."""
    return sorted(__all__)
