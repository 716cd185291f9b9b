"""The site's settings: `make docs` builds it offline, without warnings (docs/decisions.md says why Sphinx)."""

import gc
import sys
from pathlib import Path

import reliquant

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
gc.set_threshold(100_000, 50, 50)  # documents live to the end: a fifth of the time went into searches for garbage

project = "reliquant"
version = release = reliquant.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "made"]
exclude_patterns = ["_ext"]
highlight_language = "none"
smartquotes = False  # they would make one dash of the two of `--word`
myst_heading_anchors = 4
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
autodoc_member_order = "bysource"

html_theme = "furo"
html_title = "reliquant"
html_favicon = "_static/favicon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_theme_options = {"top_of_page_buttons": []}
