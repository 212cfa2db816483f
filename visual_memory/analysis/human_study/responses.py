"""Responses of people to trials, from the files that the trial pages save.

  key = json.load(open("key.json"))
  found = read_responses(sorted(folder.glob("*.json")), key)
  found.correct, found.with_neighbors        # one entry for each response

Every file is checked against the key. A file that is damaged, belongs to
another study, answers a question twice or with a choice that was not offered
is an error that names the file and what is wrong: nothing is left out. A
session that was not finished counts with the answers it has, and is counted.
"""

import csv
import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int

from visual_memory import files
from visual_memory.checks import shown

_MOST_BYTES = 64 << 20
_MOST_PARTICIPANTS = 10**9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Responses:
  """R responses; host arrays.

  Attributes:
    participants: their numbers, [R].
    trials: positions among the key's trials, [R].
    with_neighbors: whether the neighbors were shown (condition B), [R].
    choices: what was chosen, a position among what was offered, [R].
    correct: whether it was the model's answer, [R].
    seconds: until the choice, [R].
    num_unfinished: sessions without an answer to every trial.
  """

  participants: Int[np.ndarray, "R"]
  trials: Int[np.ndarray, "R"]
  with_neighbors: Bool[np.ndarray, "R"]
  choices: Int[np.ndarray, "R"]
  correct: Bool[np.ndarray, "R"]
  seconds: Float64[np.ndarray, "R"]
  num_unfinished: int

  def __len__(self) -> int:
    """The number of responses."""
    return len(self.trials)


def read_responses(
  paths: Sequence[str | os.PathLike], key: Mapping[str, Any]
) -> Responses:
  """The responses of all files, JSON or CSV, one participant each.

  Args:
    paths: the files, as the page saved them.
    key: what `Design.key` returned.

  Raises:
    ValueError: there are no files, or no key of a study; or names the file,
      the place in it, and what is wrong.
  """
  if not paths:
    raise ValueError("There are no response files to analyse.")
  _check_key(key)
  places = {trial["name"]: i for i, trial in enumerate(key["trials"])}
  rows, owners, num_unfinished = [], {}, 0
  for path in map(pathlib.Path, paths):
    participant, answers = _session(path, key, places)
    if participant in owners:
      raise ValueError(
        f"{path} is of participant {participant}, as is {owners[participant]}:"
        " keep one of them."
      )
    owners[participant] = path
    num_unfinished += len(answers) < len(places)
    rows += [(participant, *answer) for answer in answers]
  if not rows:
    raise ValueError(f"No response in any of the {len(paths)} files.")
  participants, trials, shown, choices, seconds = map(
    np.array, zip(*rows, strict=True)
  )
  right = np.array(
    [t["choices"].index(t["answer"]) for t in key["trials"]], np.int64
  )
  return Responses(
    participants=participants.astype(np.int64),
    trials=trials.astype(np.int64),
    with_neighbors=shown.astype(bool),
    choices=choices.astype(np.int64),
    correct=choices == right[trials],
    seconds=seconds.astype(np.float64),
    num_unfinished=num_unfinished,
  )


def _check_key(key: Any) -> None:
  """Raises ValueError for a key that no `Design.key` returned."""
  try:
    names = [trial["name"] for trial in key["trials"]]
    whole = (
      all(isinstance(name, str) for name in [key["study"], *names])
      and len(set(names)) == len(names) > 0
      and isinstance(key["extras"], list | tuple)
      and all(
        isinstance(trial["choices"], list | tuple)
        and trial["answer"] in trial["choices"]
        for trial in key["trials"]
      )
      and len(key["conditions"]) > 0
      and all(
        isinstance(row, str) and len(row) == len(names) and set(row) <= {*"AB"}
        for row in key["conditions"]
      )
    )
  except (LookupError, TypeError):
    whole = False
  if not whole:
    raise ValueError(
      "This is no key of a study: pass key.json as the study wrote it, with a"
      " name, choices, an answer and conditions for every trial."
    )


def _session(path, key, places):
  """A file's participant and checked answers: [(trial, B?, choice, s)]."""
  if not path.is_file():
    raise ValueError(f"{path} is no file of responses.")
  content = _read_csv(path) if path.suffix == ".csv" else _read_json(path)
  if content["study"] != key["study"]:
    raise ValueError(
      f"{path} answers study {shown(content['study'])}; the key is of"
      f" {shown(key['study'])}."
    )
  participant = _whole(content["participant"], path, "the participant")
  if not 1 <= participant <= _MOST_PARTICIPANTS:
    raise ValueError(
      f"{path}: participant {shown(participant)}; they count from 1."
    )
  conditions = key["conditions"][(participant - 1) % len(key["conditions"])]
  answers, seen = [], set()
  for number, response in enumerate(content["responses"], start=1):
    where = f"{path}, response {number}"
    answer = _answer(response, where, key, places, conditions)
    if answer[0] in seen:
      raise ValueError(f"{where}: {response['trial']} is answered twice.")
    seen.add(answer[0])
    answers.append(answer)
  return participant, answers


def _answer(response, where, key, places, conditions):
  """One checked answer."""
  fields = ("trial", "condition", "choice", "seconds")
  missing = [name for name in fields if name not in response]
  if missing:
    raise ValueError(f"{where} has no {missing[0]!r}.")
  name = response["trial"]
  trial = places.get(name) if isinstance(name, str) else None
  if trial is None:
    raise ValueError(f"{where}: no trial is called {shown(name)}.")
  if response["condition"] != conditions[trial]:
    raise ValueError(
      f"{where}: {response['trial']} was shown in condition"
      f" {shown(response['condition'])}, but this participant's is"
      f" {shown(conditions[trial])}."
    )
  choice = _whole(response["choice"], where, "the choice")
  offered = len(key["trials"][trial]["choices"]) + len(key["extras"])
  if not 0 <= choice < offered:
    raise ValueError(f"{where}: choice {choice} of {offered} offered.")
  try:
    seconds = float(response["seconds"])
  except (TypeError, ValueError, OverflowError):
    seconds = -1.0
  if not 0 <= seconds < float("inf"):
    raise ValueError(
      f"{where}: {shown(response['seconds'])} is no time in seconds."
    )
  return trial, response["condition"] == "B", choice, seconds


def _read_json(path: pathlib.Path) -> dict[str, Any]:
  """A saved session."""
  content = files.read_json(
    path, most_bytes=_MOST_BYTES, remedy="ask for it to be saved again"
  )
  if not isinstance(content, dict):
    raise ValueError(f"{path} holds no session: it must be an object.")
  for name in ("study", "participant", "responses"):
    if name not in content:
      raise ValueError(f"{path} has no {name!r}: it holds no session.")
  responses = content["responses"]
  if not isinstance(responses, list) or not all(
    isinstance(response, dict) for response in responses
  ):
    raise ValueError(f"{path}: 'responses' must be a list of objects.")
  return content


def _read_csv(path: pathlib.Path) -> dict[str, Any]:
  """A session saved as a table: the study and participant on every line."""
  if path.stat().st_size > _MOST_BYTES:
    raise ValueError(f"{path} is longer than any session.")
  try:
    with open(path, encoding="utf-8", newline="") as file:
      rows = list(csv.DictReader(file))
  except (csv.Error, ValueError) as error:
    raise ValueError(
      f"{path} is no table ({error}): ask for it to be saved again."
    ) from error
  if not rows:
    raise ValueError(f"{path} holds no responses.")
  for name in ("study", "participant"):
    values = {row.get(name) for row in rows}
    if len(values) != 1 or None in values:
      raise ValueError(f"{path} needs one {name!r}, the same on every line.")
  return {
    "study": rows[0]["study"],
    "participant": rows[0]["participant"],
    "responses": rows,
  }


def _whole(value, where, what) -> int:
  """A whole number, also from text."""
  try:
    if isinstance(value, (bool, float)):
      raise ValueError
    return int(value)
  except (TypeError, ValueError):
    raise ValueError(
      f"{where}: {what} {shown(value)} is no whole number."
    ) from None
