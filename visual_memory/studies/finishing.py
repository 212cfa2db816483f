"""How runs end beside `finish_study`: of several encoders, with a file."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from visual_memory import files
from visual_memory.encoders.encoder import load_encoder
from visual_memory.reports import page
from visual_memory.reports.sections.pretraining import encoder_file
from visual_memory.reports.workdir import Workdir
from visual_memory.studies.study import Study, finish_study
from visual_memory.studies.study_settings import StudySettings, as_values
from visual_memory.types import Ids

EDITS = "edits.json"
"""What a study decides, in its workdir."""


def finish_studies(
  workdir: Workdir,
  config: StudySettings,
  studies: Mapping[str, Study],
  *,
  compared: Sequence[page.Section],
  sections: Sequence[page.Section],
  values: Mapping[str, Mapping[str, Any]],
  more: Mapping[str, Any] | None = None,
  tiles: Mapping[str, str] | None = None,
) -> None:
  """Writes the page of several encoders: what they share, then the first one.

  Args:
    workdir: of the run.
    config: the settings of the run.
    studies: by encoder.
    compared: sections about all of them.
    sections: about the first.
    values: of report.json, by encoder; the first one's stand outside, too.
    more: values that are of no single encoder.
    tiles: see `finish_study`.
  """
  first = next(iter(studies))
  finish_study(
    workdir, config, studies[first], sections=[*compared, *sections],
    values={**values[first], **(more or {}), "encoders": values}, tiles=tiles,
  )  # fmt: skip


def finish_run(
  workdir: Workdir,
  config: Any,
  sections: Sequence[page.Section],
  values: Mapping[str, Any],
  **more: Any,
) -> None:
  """Writes the page of a run that is no study, beside its report.json.

  Args:
    workdir: of the run.
    config: its settings, whose title is the page's if no other is given.
    sections: of the page.
    values: of report.json, plain or NumPy.
    **more: what else `page.Page` tells.
  """
  if workdir.lead:
    told = {"title": getattr(config, "title", ""), "config": as_values(config)}
    found = page.Page(sections=tuple(sections), **told | more)
    page.write_page(workdir.path, found, values)


def write_encoder_page(
  workdir: Workdir,
  config: Any,
  path: pathlib.Path,
  *,
  env: Mapping[str, Any],
  timings: Mapping[str, float] | None = None,
  **facts: Any,
) -> None:
  """Loads an encoder file to be sure, tells of it, and writes its page.

  Args:
    workdir: of the run.
    config: settings with the encoder's name.
    path: of its weights.
    env: what the run depended on.
    timings: seconds of its stages.
    **facts: further ones for the report.
  """
  encoder = load_encoder("procedural", weights=path)
  report = {
    "path": str(path),
    "num_bytes": path.stat().st_size,
    "dim": encoder.dim,
    "fingerprint": encoder.fingerprint,
    **facts,
  }
  finish_run(
    workdir,
    config,
    (encoder_file(report),),
    report,
    title=f"The encoder {config.name}",
    env=env,
    timings=timings or {},
  )
  print(f"{path}: {report['num_bytes']:,} bytes, {encoder.fingerprint}")


def write_edits(workdir: Workdir, *, remove: Ids) -> dict[str, str]:
  """Writes what a study decides as edits.json; the link to it for a section.

  `visual-memory apply edits.json` makes these edits in a store of the same
  pictures: the rows go by their ids.
  """
  if workdir.lead:
    edits = {"remove": [str(row_id) for row_id in remove], "relabel": {}}
    files.write_json(workdir.path / EDITS, edits)
  return {f"{len(remove):,} rows to remove: visual-memory apply {EDITS}": EDITS}
