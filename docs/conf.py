"""The documentation as a site, built by packaging/make_docs.py with Sphinx, MyST (Markdown) and Furo.

The source is the whole checkout, so that the pages can link to files beside docs/ as they do on a code host.
"""

from pathlib import Path

from app import __version__

ROOT = Path(__file__).resolve().parents[1]

project, release = "maskwatch", __version__
extensions = ["myst_parser"]
root_doc = "docs/index"
_PARTS = ("README.md", "CHANGELOG.md", "docs", "models")
include_patterns = ["README.md", "CHANGELOG.md", "docs/**.md", "models/README.md"]
exclude_patterns = [path.name for path in ROOT.iterdir() if path.name not in _PARTS]  # not even searched
myst_heading_anchors = 4
html_theme = "furo"
html_title = f"{project} {release}"
html_static_path = html_css_files = ["site.css"]
html_copy_source = html_show_sphinx = False
linkcheck_anchors_ignore_for_url = ["https://github.com/.*"]  # its pages are made by scripts
