"""How public objects show themselves: one line of text, or a card on a page.

  line("Encoder", "pixels", "D = 3,072")            # Encoder(pixels, D = 3,072)
  card("Encoder pixels", ["D = 3,072"])             # HTML, for `_repr_html_`

Cards take text color and background from the page that they stand on, so that
they read alike on light and on dark ones.
"""

import base64
import html
import io
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8

_STYLE = """<style>
.vm-card{color:inherit;background:transparent;font:13px/1.45 system-ui,
sans-serif;border:1px solid rgba(128,128,128,.4);border-radius:8px;
padding:10px 14px;margin:4px 0;display:inline-block;max-width:100%;
box-sizing:border-box}
.vm-card b{font-weight:600}
.vm-card .vm-facts{margin:2px 0 0;opacity:.75}
.vm-card .vm-scroll{overflow-x:auto;margin-top:8px}
.vm-card table{font:inherit;border-collapse:collapse;color:inherit;
background:transparent}
.vm-card th,.vm-card td{padding:2px 14px 2px 0;text-align:left;border:0;
background:transparent;color:inherit;vertical-align:middle;white-space:nowrap}
.vm-card th{font-weight:500;opacity:.75}
.vm-card .vm-bar{display:inline-block;height:9px;border-radius:2px;
background:#5b8def;margin-right:7px;vertical-align:baseline}
.vm-card .vm-pictures{display:flex;flex-wrap:wrap;gap:8px;margin-top:8px}
.vm-card figure{margin:0;width:76px}
.vm-card figure img{width:76px;height:76px;object-fit:contain;border-radius:4px;
background:rgba(128,128,128,.16);display:block}
.vm-card figcaption{font-size:11px;line-height:1.3;overflow:hidden;
text-overflow:ellipsis;white-space:nowrap}
.vm-card .vm-note{opacity:.7}
</style>"""

_THUMBNAIL = 152
"""Pixels of a thumbnail's long side: shown at half of that, so that dense
screens have something to show."""


def line(kind: str, *facts: str) -> str:
  """A short repr: the class, and what is worth knowing."""
  return f"{kind}({', '.join(facts)})"


def names(values: Sequence[str], *, limit: int = 3) -> str:
  """The first of some names, and how many there are beyond them."""
  shown = ", ".join(repr(_short(str(value))) for value in values[:limit])
  more = len(values) - limit
  return f"{shown} and {more:,} more" if more > 0 else shown


def counted(number: int, what: str, plural: str | None = None) -> str:
  """A number of things: 1 class, 2,000 images."""
  return f"{number:,} {what if number == 1 else plural or what + 's'}"


def card(title: str, facts: Sequence[str] = (), parts: Sequence[str] = ()):
  """A card: a title, a line of facts, and parts that are HTML already."""
  line = " &middot; ".join(map(html.escape, facts))
  facts_line = f'<div class="vm-facts">{line}</div>' if line else ""
  return (
    f'{_STYLE}<div class="vm-card"><b>{html.escape(title)}</b>{facts_line}'
    f"{''.join(parts)}</div>"
  )


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """A table; its cells are HTML already (see `text` and `bar`)."""
  head = "".join(f"<th>{html.escape(name)}</th>" for name in headings)
  body = "".join(
    f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows
  )
  return f'<div class="vm-scroll"><table><tr>{head}</tr>{body}</table></div>'


def text(value: object) -> str:
  """Text as HTML, long values cut in the middle."""
  value = str(value)
  full, short = html.escape(value), html.escape(_short(value))
  return f'<span title="{full}">{short}</span>'


def note(value: str) -> str:
  """A remark below the rest."""
  return f'<div class="vm-note">{html.escape(value)}</div>'


def bar(fraction: float, label: str) -> str:
  """A bar of this fraction of the widest one, and its number."""
  width = round(90 * min(max(fraction, 0), 1))
  return (
    f'<span class="vm-bar" style="width:{width}px"></span>{html.escape(label)}'
  )


def bars(counts: Mapping[str, int], *, limit: int = 12) -> str:
  """Counts by name, the largest first, as a table of bars."""
  most = max(counts.values(), default=0)
  ordered = sorted(counts.items(), key=lambda pair: -pair[1])
  rows = [
    [text(name), bar(count / most if most else 0, f"{count:,}")]
    for name, count in ordered[:limit]
  ]
  left = len(ordered) - limit
  return table(("class", "rows"), rows) + (
    note(f"and {counted(left, 'class', 'classes')} more") if left > 0 else ""
  )


def pictures(items: Sequence[tuple[UInt8[np.ndarray, "H W 3"], str, str]]):
  """Thumbnails side by side, each with a caption and a note below it."""
  figures = [
    f'<figure><img alt="{html.escape(caption)}" src="{_data(image)}">'
    f'<figcaption title="{html.escape(caption)}">{html.escape(caption)}'
    f'<br><span class="vm-note">{html.escape(remark)}</span></figcaption>'
    "</figure>"
    for image, caption, remark in items
  ]
  return f'<div class="vm-pictures">{"".join(figures)}</div>'


def _data(image: np.ndarray) -> str:
  """An image as an address that holds it; tiny ones keep their pixels."""
  from PIL import Image  # Only here: what shows no picture starts sooner.

  picture = Image.fromarray(np.ascontiguousarray(image))
  if max(picture.size) > _THUMBNAIL:
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
  elif max(picture.size) < _THUMBNAIL // 2:
    factor = _THUMBNAIL // max(picture.size)
    size = (picture.width * factor, picture.height * factor)
    picture = picture.resize(size, Image.Resampling.NEAREST)
  encoded = io.BytesIO()
  picture.save(encoded, "PNG")
  data = base64.b64encode(encoded.getvalue()).decode()
  return f"data:image/png;base64,{data}"


def _short(value: str, *, limit: int = 40) -> str:
  """A text of at most so many characters, cut in the middle."""
  if len(value) <= limit:
    return value
  half = (limit - 3) // 2
  return f"{value[:half]}...{value[-half:]}"
