"""One page that links all reports of a paper, with a picture of each.

text = render_index("The paper", [Card(name="table4", title=..., ...)])
"""

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from visual_memory.reports import rendering


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
  """One table or figure.

  Attributes:
    name: what the paper calls it.
    title: of its report.
    state: "done", "skipped" or "failed".
    reason: why it was not done.
    finding: what its page says first.
    same_as: the name of the table or figure whose run it shares; or empty.
    report: where its page is, relative to the index; empty: nowhere.
    picture: the text of its first figure, an SVG; empty: none.
    numbers: rows of what, published, ours and unit, as `papers.compare` gives.
  """

  name: str
  title: str
  state: str
  reason: str = ""
  finding: str = ""
  same_as: str = ""
  report: str = ""
  picture: str = ""
  numbers: Sequence[Mapping[str, Any]] = ()

  @property
  def thumbnail(self) -> str:
    """The picture as a data URI."""
    encoded = base64.b64encode(self.picture.encode()).decode()
    return f"data:image/svg+xml;base64,{encoded}"

  @property
  def compared(self) -> str:
    """How many published numbers have ours beside them."""
    ours = sum(row["ours"] is not None for row in self.numbers)
    if not ours:
      return ""
    return f"{ours} of {len(self.numbers)} published numbers beside ours"


def render_index(title: str, cards: Sequence[Card]) -> str:
  """The page as text; the reports are files beside it.

  Raises:
    ImportError: jinja2 is absent; names the extra.
  """
  template = rendering.environment().get_template("paper.html.jinja")
  count = lambda state: sum(card.state == state for card in cards)
  return template.render(
    title=title,
    css=rendering.css(),
    cards=sorted(cards, key=lambda card: card.state != "done"),
    told=", ".join(
      f"{count(state)} {state}"
      for state in ("done", "skipped", "failed")
      if count(state)
    ),
  )
