"""From templates and values to pages: what every kind of page shares."""

import base64
import functools
import hashlib
import importlib.resources
import json
import re
from collections.abc import Mapping
from typing import Any

from visual_memory import files
from visual_memory.reports import drawing, gallery, tables

_MOST_CHARACTERS = 64
"""Across a table that stands beside a figure."""
_ROOMY_CHARACTERS = 110
"""Across a table of the page's width in its usual type."""
_FEW_CHARACTERS = 42
"""Across one of three things that stand side by side."""
_ENLARGED = 1.35
"""A figure is drawn at most so many times as wide as it was made."""
_BROAD_POINTS = 400
"""A figure drawn wider, as rows of pictures are, takes half a page."""
_NUMBER = re.compile(r"[-+–<→\s]*\d")


@functools.cache
def environment():
  """The jinja environment of the packaged templates, escaping everything.

  One for all pages: it keeps what templates are compiled to.
  """
  import jinja2

  made = jinja2.Environment(
    autoescape=True,
    loader=jinja2.FunctionLoader(_template),
    lstrip_blocks=True,
    trim_blocks=True,
    undefined=jinja2.StrictUndefined,
  )
  made.filters["short"] = lambda value: f"{value:.3g}"
  return made


def css() -> str:
  """The style sheet of all pages."""
  return _template("report.css")


def inline(svg: str) -> str:
  """An SVG document as it goes into a page.

  Without prolog and namespaces, and without the groups' ids, which would
  otherwise be those of every other figure too.
  """
  svg = re.sub(r"<\?xml.*?\?>\s*", "", svg)
  svg = re.sub(r'<g id="[^"]*"', "<g", svg)
  svg = re.sub(r'(<svg[^>]*?) width="([0-9.]+)pt"', _at_most, svg, count=1)
  return re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)


def is_broad(svg: str) -> bool:
  """Whether a figure was drawn too wide to be read at a third of a page."""
  width = re.search(r'<svg[^>]*? width="([0-9.]+)pt"', svg)
  return bool(width) and float(width[1]) > _BROAD_POINTS


def _at_most(found: re.Match) -> str:
  """A drawing's opening tag, with the most width that suits it."""
  points = _ENLARGED * float(found[2])
  return f'{found[1]} style="max-width: min(36rem, {points:.0f}pt)"'


def card(item: gallery.GalleryItem) -> dict[str, Any]:
  """A gallery item with its pictures as data URIs and its bars' lengths."""
  largest = max((abs(n.weight or 0) for n in item.neighbors), default=0)
  return {
    "item": item,
    "picture": _picture(item.image),
    "voted": any(n.weight is not None for n in item.neighbors),
    "neighbors": [
      {
        "neighbor": neighbor,
        "picture": _picture(neighbor.image),
        "length": abs(neighbor.weight or 0) / largest if largest else 0,
      }
      for neighbor in item.neighbors
    ],
  }


def table(shown: tables.Table, *, in_three: bool = False) -> dict[str, Any]:
  """A table as the template draws it.

  What a row has in common with the one above it in the first column is said
  once, unless rows have pictures.

  Args:
    shown: the table.
    in_three: whether it would stand beside two other things, not one.
  """
  most = _FEW_CHARACTERS if in_three else _MOST_CHARACTERS
  pictured = bool(shown.pictures)
  words = [_is_words(column) for column in zip(*shown.rows, strict=True)]
  words = words or [False] * len(shown.header)
  firsts = [row[0] if row else "" for row in shown.rows]
  spans, start = [0] * len(firsts), 0
  for place, first in enumerate(firsts):
    again = place and first and first == firsts[place - 1]
    again = again and not pictured and not shown.links
    start = start if again else place
    spans[start] += 1
  return {
    "header": shown.header,
    "caption": shown.caption,
    "text": shown.text,
    "wide": _width(shown) > most,
    "dense": _least_width(shown) > _ROOMY_CHARACTERS,
    "words": words,
    "pictured": pictured,
    "num_rows": len(shown.rows),
    "rows": [
      {
        "first": firsts[place],
        "span": spans[place],
        "link": shown.links[place] if shown.links else None,
        "picture": _picture(shown.pictures[place]) if pictured else None,
        "cells": [
          (
            cell,
            shown.marks.get((place, column), "")
            + (" word" if words[column] else ""),
          )
          for column, cell in enumerate(row[1:], start=1)
        ],
      }
      for place, row in enumerate(shown.rows)
    ],
  }


def is_narrow(shown: tables.Table) -> bool:
  """Whether a table leaves room for two figures beside it."""
  return _width(shown) <= _FEW_CHARACTERS


def count_name(key: str) -> str:
  """What a count of a run is called: peak_memory_mib, peak memory (MiB)."""
  name = key.replace("_", " ")
  return name.removesuffix(" mib") + " (MiB)" * name.endswith(" mib")


def _width(shown: tables.Table) -> int:
  """How many characters the widest cells of a table take, and their gaps."""
  columns = zip(shown.header, *shown.rows, strict=True)
  return sum(2 + max(map(len, column)) for column in columns)


def _least_width(shown: tables.Table) -> int:
  """The same with headers broken between their words, as a browser does."""
  longest = lambda text: max(map(len, text.split()), default=0)
  columns = zip(map(longest, shown.header), *shown.rows, strict=True)
  return sum(2 + max([head, *map(len, rows)]) for head, *rows in columns)


def _is_words(cells) -> bool:
  """Whether a column holds words rather than numbers."""
  filled = [cell for cell in cells if cell]
  return bool(filled) and not any(_NUMBER.match(cell) for cell in filled)


def pretty(value: Mapping[str, Any]) -> str:
  """Nested values as indented JSON."""
  return json.dumps(files.plain(value), indent=2, ensure_ascii=False)


def _template(name: str) -> str:
  """The text of a file that is packaged beside this module."""
  folder = importlib.resources.files("visual_memory.reports") / "templates"
  return (folder / name).read_text(encoding="utf-8")


def _picture(image: Any) -> dict[str, Any] | None:
  """An image as the template draws it."""
  if image is None:
    return None
  uri, tiny = gallery.data_uri(image)
  return {"uri": uri, "tiny": tiny}


def render_page(name: str, content: Mapping[str, Any], **values: Any) -> str:
  """A packaged page with its script, style and embedded data, as text.

  Args:
    name: of the template and the script among the packaged templates.
    content: what the script reads, as JSON.
    **values: what the template reads.

  Raises:
    ValueError: the content holds NaN or infinity.
    ImportError: jinja2 is absent; names the extra.
  """
  drawing.require_plots()
  pages = environment()
  source = lambda file: pages.loader.get_source(pages, file)[0]
  script = source(f"{name}.js")
  digest = hashlib.sha256(script.encode()).digest()
  data = json.dumps(content, separators=(",", ":"), allow_nan=False)
  template = pages.get_template(f"{name}.html.jinja")
  return template.render(
    css=css() + source("interactive.css"),
    script=script,
    script_hash=f"sha256-{base64.b64encode(digest).decode()}",
    # "<" would let a class called "</script>" end the data early.
    data=data.replace("<", "\\u003c"),
    **values,
  )
