"""A page of sections about any analysis, beside the values it tells.

  section = Section(
    title="Reliability",
    prose=("The i-th neighbor alone is right less often as i grows.",),
    tables=(tables.Table(header=("i", "accuracy"), rows=(("1", "40.5"),)),),
    figures=(Figure(name="reliability", svg=plots.curves(...)),),
  )
  write_page(workdir.path, Page(title=..., sections=(section,), ...), values)

report.json and report.html come out as for any other run; every figure is
also a file of its own, figures/NAME.svg, and every named table tables/NAME.csv.
"""

import dataclasses
import os
import pathlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from visual_memory import files
from visual_memory.reports import drawing, rendering
from visual_memory.reports.gallery import GalleryItem
from visual_memory.reports.tables import Table
from visual_memory.reports.workdir import refuse_other_config


@dataclasses.dataclass(frozen=True, kw_only=True)
class Skipped:
  """An image that could not be used: its name, and why."""

  name: str
  reason: str


def skipped(*embed_reports) -> tuple[Skipped, ...]:
  """The images that could not be read, each named once.

  Args:
    embed_reports: of `embed_with_report`, one for each source.
  """
  return tuple(
    Skipped(name=name, reason=reason)
    for name, reason in dict.fromkeys(
      (image.id, image.reason)
      for report in embed_reports
      for image in report.skipped
    )
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
  """A drawing: its name (unique on the page), SVG text and caption.

  Without the `plots` extra the text is empty (see `drawing.drawn`).
  """

  name: str
  svg: str
  caption: str = ""

  @classmethod
  def of(
    cls, draw: Callable[..., str], *values, name: str, caption="", **options
  ) -> "Figure":
    """What a function of `plots` draws of some values, under one name."""
    svg = draw(*values, name=name, **options)
    return cls(name=name, svg=svg, caption=caption)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
  """A part of a page.

  Attributes:
    title: one line.
    finding: what it says, in a sentence: stands first on the page.
    prose: paragraphs of plain text, above everything else.
    tables: below the figures, or beside them where there is room.
    figures: in order.
    links: further pages of the run, {text: path relative to the workdir}.
    gallery: explained queries, below everything else.
    per_row: how many of these belong together in a row; 0 for as many as fit.
    folded: whether it is closed until a reader opens it.
  """

  title: str
  finding: str = ""
  prose: tuple[str, ...] = ()
  tables: tuple[Table, ...] = ()
  figures: tuple[Figure, ...] = ()
  links: Mapping[str, str] = dataclasses.field(default_factory=dict)
  gallery: tuple[GalleryItem, ...] = ()
  per_row: int = 0
  folded: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Page:
  """Everything that one page tells.

  Attributes:
    title: one line.
    sections: in order.
    config: the run's config, plain nested values.
    tiles: numbers to see first, {what: number as text}; the first is largest.
    timings: seconds, by stage.
    counts: whatever was counted, by name.
    skipped: the images left out.
    notes: what else is worth knowing, as sentences.
    fingerprint: the `neighbors_fingerprint` of the main retrieval.
    env: what `Workdir.write_env` returned.
  """

  title: str
  sections: tuple[Section, ...]
  config: Mapping[str, Any]
  tiles: Mapping[str, str] = dataclasses.field(default_factory=dict)
  timings: Mapping[str, float] = dataclasses.field(default_factory=dict)
  counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
  skipped: tuple[Skipped, ...] = ()
  notes: tuple[str, ...] = ()
  fingerprint: str = ""
  env: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def write_page(
  workdir: str | os.PathLike, page: Page, values: Mapping[str, Any]
) -> None:
  """Writes report.json, report.html, figures/ and tables/.

  Each file appears whole; report.json comes first. To be called by the lead
  process alone. Without the `plots` extra only report.json is written, with a
  warning.

  Args:
    workdir: the directory.
    page: what the page shows.
    values: what report.json holds beside counts, timings and config.

  Raises:
    ValueError: the workdir holds a report of another config; or two figures
      or tables have the same name. Nothing is written then.
  """
  folder = pathlib.Path(workdir)
  _check_names(page)
  content = files.plain(
    {
      "title": page.title,
      "findings": [part.finding for part in page.sections if part.finding],
      "figures": [each.name for part in page.sections for each in part.figures],
      **values,
      "neighbors_fingerprint": page.fingerprint,
      "timings": page.timings,
      "counts": {"skipped": len(page.skipped), **page.counts},
      "skipped": [dataclasses.asdict(image) for image in page.skipped],
      "config": page.config,
    }
  )
  if (folder / "report.json").exists():
    old = files.read_json(folder / "report.json")
    refuse_other_config(folder / "report.json", old["config"], page.config)
  folder.mkdir(parents=True, exist_ok=True)
  files.write_json(folder / "report.json", content)
  _write_tables(folder / "tables", page)
  try:
    drawing.require_plots()
  except ImportError as error:
    warnings.warn(f"Only report.json was written: {error}", stacklevel=2)
    return
  _write_figures(folder / "figures", page)
  files.write_text(folder / "report.html", render_page(page))


def render_page(page: Page) -> str:
  """The page as text: self-contained, without scripts.

  Raises:
    ImportError: jinja2 or matplotlib is absent; names the extra.
  """
  drawing.require_plots()
  template = rendering.environment().get_template("page.html.jinja")
  return template.render(
    title=page.title,
    css=rendering.css(),
    env=page.env,
    env_text=rendering.pretty(page.env),
    config=rendering.pretty(page.config),
    page=page,
    findings=[part.finding for part in page.sections if part.finding],
    tiles=list(page.tiles.items()),
    counts=[
      (f"{value:,}", rendering.count_name(name))
      for name, value in page.counts.items()
    ],
    sections=[
      {
        "section": section,
        "figures": [
          (rendering.inline(figure.svg), figure.caption)
          for figure in section.figures
        ],
        "tables": [
          rendering.table(table, in_three=_in_threes(section))
          for table in section.tables
        ],
        "in_threes": _in_threes(section),
        "cards": [rendering.card(item) for item in section.gallery],
        "num_right": sum(item.right is True for item in section.gallery),
      }
      for section in page.sections
    ],
  )


def _in_threes(section: Section) -> bool:
  """Whether figures and narrow tables stand three in a row, not two."""
  if any(rendering.is_broad(figure.svg) for figure in section.figures):
    return False
  narrow = sum(map(rendering.is_narrow, section.tables))
  return len(section.figures) + narrow > 2


def _check_names(page: Page) -> None:
  """Raises ValueError if a name would be written twice."""
  for kind in ("figures", "tables"):
    names = [
      item.name
      for section in page.sections
      for item in getattr(section, kind)
      if item.name
    ]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
      raise ValueError(f"Two {kind} are called {min(twice)!r}.")


def _write_tables(folder: pathlib.Path, page: Page) -> None:
  """Every named table as CSV."""
  for section in page.sections:
    for table in section.tables:
      if table.name:
        folder.mkdir(exist_ok=True)
        files.write_text(folder / f"{table.name}.csv", table.csv())


def _write_figures(folder: pathlib.Path, page: Page) -> None:
  """Every figure as an SVG file."""
  for section in page.sections:
    for figure in section.figures:
      folder.mkdir(exist_ok=True)
      files.write_text(folder / f"{figure.name}.svg", figure.svg)
