"""A paper's tables and figures: what can be run, and ours beside its numbers.

  outcomes = run(settings, "work/paper", published=numbers, launch=launch)

Everything is handed over: the settings by the names of tables and figures, the
published numbers by the same names, and what runs one of them.
"""

import hashlib
import json
import logging
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from visual_memory import distributed, files
from visual_memory.reports import runs, tables
from visual_memory.studies import study_settings
from visual_memory.studies.opening import missing

BEST = "*"
"""In a path: the largest of what follows, over all keys."""


@runtime_checkable
class Expected(Protocol):
  """One published value: configs/published.py says what its fields are."""

  what: str
  value: float
  path: tuple[str | int, ...] | None
  unit: str
  scale: float


def listing(
  items: Mapping[str, study_settings.RunSettings], *, without: Sequence[str]
) -> str:
  """Every item with its title and whether it can be run, as lines.

  Args:
    items: settings by name.
    without: lines about what has none.
  """
  width = 2 + max(map(len, items))
  lines = [
    f"{name:{width}}{settings.title}: {missing(settings) or 'can be run'}"
    for name, settings in items.items()
  ]
  return "\n".join([*lines, *without])


def run(
  items: Mapping[str, study_settings.RunSettings],
  path: str | os.PathLike,
  *,
  published: Mapping[str, Sequence[Expected]],
  launch: Callable[[str, pathlib.Path, bool], None],
  stand_ins: Mapping[str, study_settings.RunSettings],
  needed: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, dict[str, Any]]:
  """What became of each item: its state, reason, report and numbers.

  Those that differ in their title alone are run once. paper.json, paper.md
  and, with links and thumbnails, index.html in the directory hold the outcomes.

  Args:
    items: settings by name.
    path: the directory; each item has a workdir of its own there.
    published: by name.
    launch: runs the item of a name into a workdir, or its stand-in.
    stand_ins: settings by name for those whose data are not there: the same
      questions of other data, beside which no published number stands.
    needed: the encoders that each item is without, since their own weights are
      not there; told beside what became of it.
  """
  root, outcomes, made = pathlib.Path(path), {}, {}
  for name, settings in items.items():
    reason, used = missing(settings), settings
    stands_in = bool(reason) and name in stand_ins
    if stands_in:
      used = stand_ins[name]
    if reason and (not stands_in or missing(used)):
      outcomes[name] = {"state": "skipped", "reason": reason}
      continue
    folder = made.setdefault(_identity(used), root / name)
    try:
      if folder == root / name:
        launch(name, folder, stands_in)
    except OSError as error:  # Weights that are neither here nor elsewhere.
      outcomes[name] = {"state": "skipped", "reason": str(error)}
    except Exception as error:  # The others can still be run.
      logging.exception("%s failed", name)
      outcomes[name] = {"state": "failed", "reason": repr(error)}
    else:
      report = files.read_json(folder / "report.json")
      expected = () if stands_in else published.get(name, ())
      outcomes[name] = {
        "state": "done",
        "report": str(folder.relative_to(root) / "report.html"),
        "numbers": compare(expected, report),
        "seconds": round(sum(report.get("timings", {}).values()), 1),
        "finding": next(iter(report.get("findings", ())), ""),
      }
      if folder != root / name:
        outcomes[name]["same_as"] = folder.name
      if stands_in:
        outcomes[name] |= {"title": used.title, "reason": reason}
        outcomes[name]["stands_in"] = True
  for name, outcome in outcomes.items():
    outcome.setdefault("title", items[name].title)
    if needed and needed.get(name):
      outcome["weights_needed"] = list(needed[name])
  write(root, outcomes)
  return outcomes


def write(
  path: str | os.PathLike, outcomes: Mapping[str, Mapping[str, Any]]
) -> None:
  """Writes paper.json, paper.md and index.html of outcomes into a directory."""
  root = pathlib.Path(path)
  if distributed.is_lead():
    root.mkdir(parents=True, exist_ok=True)
    files.write_json(root / "paper.json", outcomes)
    files.write_text(root / "paper.md", _markdown(outcomes))
    files.write_text(root / "index.html", _index(root, outcomes))


def together(
  papers: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> dict[str, dict[str, Any]]:
  """The outcomes of several papers, each run in a directory of its name."""
  return {
    f"{paper}: {name}": {
      **outcome,
      **({"report": f"{paper}/{outcome['report']}"} if "report" in outcome
         else {}),
    }
    for paper, outcomes in papers.items()
    for name, outcome in outcomes.items()
  }  # fmt: skip


def compare(
  published: Sequence[Expected], report: Mapping[str, Any]
) -> list[dict[str, Any]]:
  """Published numbers with ours beside them, None where there is none."""
  rows = []
  for expected in published:
    ours = expected.path and look_up(report, expected.path)
    rows.append(
      {
        "what": expected.what,
        "published": expected.value,
        "ours": None if ours is None else ours * expected.scale,
        "unit": expected.unit,
      }
    )
  return rows


def look_up(report: Any, path: tuple[str | int, ...]) -> float | int | None:
  """The value at a path of a report; None where it is not there."""
  value = report
  for place, key in enumerate(path):
    try:
      if key == BEST:
        found = [look_up(each, path[place + 1 :]) for each in value.values()]
        return max((each for each in found if each is not None), default=None)
      value = value[key]
    except (AttributeError, KeyError, IndexError, TypeError):
      return None
  if isinstance(value, dict):  # Of an interval, the estimate.
    value = value.get("mean")
  return value if isinstance(value, (int, float)) else None


def _identity(settings: study_settings.RunSettings) -> str:
  """Equal for settings that differ in their title alone."""
  content = {**study_settings.as_values(settings), "title": ""}
  return hashlib.sha256(
    json.dumps(files.plain(content), sort_keys=True).encode()
  ).hexdigest()


def _index(root, outcomes) -> str:
  """The page that links the reports."""
  cards = []
  for name, outcome in outcomes.items():
    report = outcome.get("report", "")
    picture = _first_figure((root / report).parent) if report else ""
    cards.append(
      runs.Card(
        name=name,
        title=outcome["title"],
        state=outcome["state"],
        reason=_reason(outcome),
        report=report,
        picture=picture,
        finding=outcome.get("finding", ""),
        same_as=outcome.get("same_as", ""),
        numbers=outcome.get("numbers", ()),
      )
    )
  return runs.render_index("Tables and figures", cards)


def _first_figure(folder: pathlib.Path) -> str:
  """The text of the first figure of a report's page; empty if it has none."""
  figures = files.read_json(folder / "report.json").get("figures", ())
  path = folder / "figures" / f"{next(iter(figures), '')}.svg"
  return path.read_text() if path.exists() else ""


def _reason(outcome: Mapping[str, Any]) -> str:
  """Why something is not as published; empty where nothing is to be said."""
  needed = ", ".join(outcome.get("weights_needed", ()))
  told = (outcome.get("reason", ""), needed and f"weights needed: {needed}")
  return "; ".join(filter(None, told))


def _shown(outcome: Mapping[str, Any]) -> str:
  """What a report finds first, or whose run it shares."""
  if "same_as" in outcome:
    return f"as {outcome['same_as']}, whose run it is"
  return outcome.get("finding", "")


def _markdown(outcomes: Mapping[str, Mapping[str, Any]]) -> str:
  """The states, then all numbers."""
  states = tables.Table(
    header=(
      "config", "state", "seconds", "report or reason", "what it shows",
      "weights needed",
    ),
    rows=tuple(
      (
        name,
        value["state"],
        f"{value.get('seconds', '')}",
        value.get("report") or value["reason"],
        _shown(value),
        ", ".join(value.get("weights_needed", ())),
      )
      for name, value in outcomes.items()
    ),
  )  # fmt: skip
  show = lambda value: "–" if value is None else f"{value:.2f}"
  numbers = tables.Table(
    header=("config", "what", "published", "ours", "unit"),
    rows=tuple(
      (name, row["what"], f"{row['published']:g}", show(row["ours"]),
       row["unit"])
      for name, value in outcomes.items()
      for row in value.get("numbers", ())
    ),
  )  # fmt: skip
  return f"{states.markdown()}\n{numbers.markdown()}"
