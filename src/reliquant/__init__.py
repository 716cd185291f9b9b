"""Reliability under quantization: how far can a vision-language model be quantized before it cannot be trusted?

What a notebook needs is here under one name each and is imported on first use: `import reliquant` itself is cheap.
`docs/api.md` shows them at work.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for editors and type checkers
    from reliquant.evaluation.embed import embed_images
    from reliquant.evaluation.measure import measure_features, measure_probabilities
    from reliquant.files.stored_frames import read_rows
    from reliquant.images.open import open_images
    from reliquant.layers.variant import load_variant
    from reliquant.models.open import open_model
    from reliquant.quantization.quantize_model import quantize_model
    from reliquant.report.compare import compare
    from reliquant.report.draw import draw_figure, make_table
    from reliquant.report.recommend import recommend

__version__ = "0.2.0"  # the only place of it that is read; a release checks that the others agree

_PLACES = {  # name -> the module that holds it
    "open_model": "models.open",
    "open_images": "images.open",
    "quantize_model": "quantization.quantize_model",
    "load_variant": "layers.variant",
    "embed_images": "evaluation.embed",
    "measure_features": "evaluation.measure",
    "measure_probabilities": "evaluation.measure",
    "read_rows": "files.stored_frames",
    "compare": "report.compare",
    "recommend": "report.recommend",
    "draw_figure": "report.draw",
    "make_table": "report.draw",
}
__all__ = [
    "__version__",
    "compare",
    "draw_figure",
    "embed_images",
    "load_variant",
    "make_table",
    "measure_features",
    "measure_probabilities",
    "open_images",
    "open_model",
    "quantize_model",
    "read_rows",
    "recommend",
]


def __getattr__(name: str) -> object:
    """Import a name of the API from its module."""
    if name not in _PLACES:
        raise AttributeError(f"module 'reliquant' has no attribute {name!r}; there are {', '.join(_PLACES)}")
    return getattr(import_module(f"reliquant.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    """List the API."""
    return sorted(__all__)
