"""The API of the package, for editors and type checkers; `__init__.py` imports each name on first use."""

from reliquant.artifacts import read_rows as read_rows
from reliquant.evaluation.embed import embed_images as embed_images
from reliquant.evaluation.measure import measure_features as measure_features
from reliquant.evaluation.measure import measure_probabilities as measure_probabilities
from reliquant.images.open import open_images as open_images
from reliquant.layers.variant import load_variant as load_variant
from reliquant.models.open import open_model as open_model
from reliquant.quantization.quantize_model import quantize_model as quantize_model
from reliquant.report.compare import compare as compare
from reliquant.report.draw import draw_figure as draw_figure
from reliquant.report.draw import make_table as make_table
from reliquant.report.recommend import recommend as recommend

__version__: str
