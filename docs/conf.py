"""The documentation site: `make docs` builds it, without network.

Pages that repeat what the code says (the reference, the commands, the configs,
the results) are written by `generate.py` before Sphinx reads them.
"""

import importlib.metadata
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import generate  # noqa: E402

project = "visual_memory"
author = "The visual_memory authors"
copyright = author
version = release = importlib.metadata.version("visual_memory")

extensions = [
  "myst_parser",
  "sphinx.ext.autodoc",
  "sphinx.ext.napoleon",
  "sphinx.ext.viewcode",
]
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
# Shapes in annotations are read by tests; on a page they crowd the names out.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_use_rtype = False
nitpicky = False

html_theme = "furo"
html_title = "visual_memory"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True}
html_show_sourcelink = False
html_copy_source = False

generate.write(HERE / "_generated")


def _blocks(app, what, name, item, options, lines):
  """Indented lines of a docstring are code, as our docstrings mean them."""
  result, code, sections = [], False, ("Args:", "Returns:", "Raises:")
  for i, line in enumerate(lines):
    indented = line.startswith("  ") and not inside_section(lines, i, sections)
    before = result[-1].strip() if result else ""
    if indented and not code and (not before or before.endswith(":")):
      result += ["", "::", ""]
      code = True
    elif line.strip() and not line.startswith("  "):
      code = False
    result.append(line)
  lines[:] = result


def inside_section(lines, i, sections):
  """Whether a line stands under a heading of arguments or results."""
  for line in reversed(lines[:i]):
    if line.strip() and not line.startswith(" "):
      return line.strip() in sections
  return False


default_role = "code"


def setup(app):
  """Before napoleon (priority 500) turns sections into fields."""
  app.connect("autodoc-process-docstring", _blocks, priority=400)
