"""Settings of the documentation site. `make docs` builds it, without the network, into docs/_build."""

import sys
from pathlib import Path

from regulo import __version__

sys.path.insert(0, str(Path(__file__).parent))  # for extensions/

project = "Regulo"
release = version = __version__
extensions = ["myst_parser", "extensions.notebook", "extensions.pages"]
exclude_patterns = ["_build"]
suppress_warnings = ["misc.highlighting_failure"]  # commands with <placeholders> are not shell
myst_heading_anchors = 4

html_theme = "furo"
html_title = "Regulo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_copy_source = False
html_show_search_summary = False  # a browser may not read other files of a site on disk
