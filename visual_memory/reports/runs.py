"""Finished runs side by side: what they found, in which settings they differ.

  runs = find_runs(["work/a", "work/sweep"])
  write_runs("work/runs.html", runs)
  text = render_index("The paper", [Card(name="table4", title=..., ...)])

A run is a directory with a report.json; of a directory that holds several (a
sweep's, say), all are taken.
"""

import base64
import dataclasses
import os
import pathlib
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from visual_memory import files
from visual_memory.analysis.intervals import Interval, exact_share
from visual_memory.reports import plots, rendering, tables, workdir
from visual_memory.reports.page import Figure, Page, Section, render_page
from visual_memory.reports.tables import Table

_MOST_COLUMNS = 5
"""Settings that stand beside the results; more have a table of their own."""
_WHERE = ("cache_dir", "workdir", "recordings_dir")
"""Settings that say where files are, and change no result."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """What a run left.

  Attributes:
    path: of its workdir.
    name: what tells it from the others.
    title: of its report.
    finding: the first sentence of its report.
    accuracy: of the chosen setting, with its exact 95 % interval; None where
      the run has no such number.
    vote: the chosen setting, in words.
    config: plain nested values.
    fingerprint: of the neighbors that decided.
    seconds: all its stages together.
    finished: whether it came to its end.
  """

  path: pathlib.Path
  name: str
  title: str
  finding: str
  accuracy: Interval | None
  vote: str
  config: dict[str, Any]
  fingerprint: str
  seconds: float
  finished: bool

  def to_dict(self) -> dict[str, Any]:
    """As plain JSON values."""
    return files.plain(dataclasses.asdict(self) | {"path": str(self.path)})


def find_runs(paths: Sequence[str | os.PathLike]) -> list[Run]:
  """The runs at and below some directories, the most accurate first.

  Raises:
    FileNotFoundError: a directory without any; names it.
    ValueError: a report that cannot be read; names it.
  """
  places: dict[pathlib.Path, None] = {}
  for given in map(pathlib.Path, paths):
    found = [given / "report.json", *sorted(given.glob("*/report.json"))]
    found = [file.parent for file in found if file.is_file()]
    if not found:
      raise FileNotFoundError(
        f"There is no run at {str(given)!r}: a run leaves a report.json in its"
        " workdir."
      )
    places |= dict.fromkeys(found)
  names = _names(list(places))
  runs = [_run(path, name) for path, name in zip(places, names, strict=True)]
  rank = lambda run: -run.accuracy.mean if run.accuracy else 1.0
  return sorted(runs, key=rank)


def differing(runs: Sequence[Run]) -> dict[str, list[str]]:
  """The settings in which runs differ: the text of each run's value."""
  flat = [workdir.flatten(run.config) for run in runs]
  keys = dict.fromkeys(key for config in flat for key in config)
  values = {
    key: [str(config.get(key, tables.NONE)) for config in flat]
    for key in keys
    if key.split(".")[-1] not in _WHERE
  }
  return {key: each for key, each in values.items() if len(set(each)) > 1}


def table(runs: Sequence[Run], *, beside: pathlib.Path | None = None) -> Table:
  """One row for each run: accuracy, vote, and some settings that differ.

  Args:
    runs: in order.
    beside: a page; the runs' names link to their reports from there.
  """
  settings = differing(runs)
  shown = settings if len(settings) <= _MOST_COLUMNS else {}
  return Table(
    header=("run", "accuracy (%)", "vote", *shown, "seconds"),
    rows=tuple(
      (
        run.name + ("" if run.finished else " (not finished)"),
        tables.interval(run.accuracy) if run.accuracy else tables.NONE,
        run.vote or tables.NONE,
        *(values[place] for values in shown.values()),
        f"{run.seconds:.1f}",
      )
      for place, run in enumerate(runs)
    ),
    caption="The chosen setting of each, with its exact 95 % interval.",
    links=tuple(_address(run, beside) for run in runs) if beside else (),
  )


def write_runs(
  path: str | os.PathLike, runs: Sequence[Run], *, title: str = "Runs"
) -> None:
  """Writes one page about some runs, which links their reports.

  Raises:
    ImportError: jinja2 or matplotlib is absent; names the extra.
  """
  page, settings = pathlib.Path(path), differing(runs)
  sections = [
    Section(
      title="Side by side",
      finding=_finding(runs),
      figures=_figure(runs),
      tables=(table(runs, beside=page),),
    )
  ]
  if len(settings) > _MOST_COLUMNS:
    sections.append(
      Section(
        title="Settings that differ",
        tables=(
          Table(
            header=("setting", *(run.name for run in runs)),
            rows=tuple((key, *each) for key, each in settings.items()),
            text=True,
          ),
        ),
      )
    )
  others = [run for run in runs if run.accuracy is None and run.finding]
  if others:
    sections.append(
      Section(
        title="What the others found",
        tables=(
          Table(
            header=("run", "finding"),
            rows=tuple((run.name, run.finding) for run in others),
            text=True,
          ),
        ),
      )
    )
  common = workdir.flatten(runs[0].config)
  made = Page(
    title=title,
    sections=tuple(sections),
    config={key: common[key] for key in common if key not in settings},
    tiles=_tiles(runs),
    notes=_notes(runs),
  )
  files.write_text(page, render_page(made))


def _run(path: pathlib.Path, name: str) -> Run:
  """What is known of a run."""
  try:
    report = files.read_json(path / "report.json")
    chosen, counts = report.get("chosen"), report.get("query_counts") or {}
    accuracy, vote = None, ""
    if chosen:
      asked = counts.get("queries", 0) - counts.get("unlabeled_queries", 0)
      right = round(chosen["accuracy"] * asked)
      accuracy = exact_share(right, asked) if asked else None
      vote = f"{chosen['voter']}, k = {chosen['k']}"
    return Run(
      path=path,
      name=name,
      title=report["title"],
      finding=(report.get("findings") or [""])[0],
      accuracy=accuracy,
      vote=vote,
      config=report["config"],
      fingerprint=report.get("neighbors_fingerprint") or "",
      seconds=sum((report.get("timings") or {}).values()),
      finished=(path / "DONE").exists(),
    )
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise ValueError(
      f"{path / 'report.json'} is no report of a run: {error}."
    ) from error


def _names(paths: Sequence[pathlib.Path]) -> list[str]:
  """The ends of paths, as long as they must be to differ."""
  parts = [path.resolve().parts for path in paths]
  for length in range(1, max(map(len, parts), default=1) + 1):
    names = ["/".join(part[-length:]) for part in parts]
    if len(set(names)) == len(names):
      break
  return names


def _address(run: Run, page: pathlib.Path) -> str:
  """Where a run's report is, from a page."""
  report = run.path.resolve() / "report.html"
  return urllib.parse.quote(os.path.relpath(report, page.resolve().parent))


def _finding(runs: Sequence[Run]) -> str:
  """Which run is best, and whether the next one may be as good."""
  scored = [run for run in runs if run.accuracy]
  if not scored:
    return ""
  best = scored[0]
  told = f"The best: {best.name}, {tables.share(best.accuracy)}."
  if len(scored) > 1:
    second = scored[1].accuracy
    apart = best.accuracy.low > second.high
    told += (
      f" Next: {scored[1].name}, {tables.share(second)}"
      f"{'' if apart else ': their intervals overlap'}."
    )
  return told


def _figure(runs: Sequence[Run]) -> tuple[Figure, ...]:
  """The accuracies with their intervals, one under the other."""
  scored = {run.name: tables.span(run.accuracy) for run in runs if run.accuracy}
  if not scored:
    return ()
  svg = plots.intervals(
    {"accuracy": scored},
    order=tuple(scored),
    name="runs",
    x_label="accuracy (%)",
  )
  return (Figure(name="runs", svg=svg),)


def _tiles(runs: Sequence[Run]) -> dict[str, str]:
  """The best accuracy, and how many runs there are."""
  best = runs[0]
  tiles = {}
  if best.accuracy:
    tiles[f"accuracy of the best, {best.name}: {best.vote}"] = (
      f"{tables.percent(best.accuracy.mean)} %"
    )
  return tiles | {"runs": f"{len(runs):,}"}


def _notes(runs: Sequence[Run]) -> tuple[str, ...]:
  """What a reader would ask before comparing."""
  prints = {run.fingerprint for run in runs if run.fingerprint}
  notes = []
  if len(runs) > 1 and len(prints) == 1:
    notes.append("The same neighbors decided in all of them.")
  if len(runs) > 2 and any(run.accuracy for run in runs):
    notes.append(
      "The best of several runs on the same queries flatters itself: confirm it"
      " on others."
    )
  return tuple(notes)


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
