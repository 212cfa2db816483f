"""Answers of people, and keys of studies with them, that are broken."""

import copy
import csv
import io
import json
import pathlib

import fuzzing

from visual_memory.analysis.human_study import responses

KEY = {
  "study": "0f3a", "kind": "prediction", "seed": 0, "extras": [],
  "trials": [
    {"name": f"t{n}", "query": f"q{n}", "choices": [0, 1, 2], "answer": n % 3,
     "label": 1}
    for n in range(4)
  ],
  "conditions": ["ABAB", "BABA"],
}  # fmt: skip
SESSION = {
  "study": "0f3a", "participant": 1,
  "responses": [
    {"trial": f"t{n}", "condition": "ABAB"[n], "choice": n % 3, "seconds": 1.5}
    for n in range(4)
  ],
}  # fmt: skip


def check(seed: int, folder: pathlib.Path) -> str:
  """One file of answers beside one key."""
  rng = fuzzing.random_of(seed)
  key, session = copy.deepcopy(KEY), copy.deepcopy(SESSION)
  what = rng.random()
  if what < 0.3:
    key = fuzzing.mutated_json(key, rng)
  elif what < 0.7:
    session = fuzzing.mutated_json(session, rng)
  table = what > 0.85
  path = folder / ("1.csv" if table else "1.json")
  data = _table(session) if table else json.dumps(session).encode()
  path.write_bytes(fuzzing.mutated(data, rng) if what > 0.7 else data)
  try:
    found = responses.read_responses([path], key)
  except ValueError as error:
    return fuzzing.assert_clear(error)
  assert 0 < len(found) <= 5 and (found.participants > 0).all()
  assert ((found.choices >= 0) & (found.choices < 8)).all()
  assert (found.seconds >= 0).all() and found.correct.dtype == bool
  return "read"


def _table(session) -> bytes:
  buffer = io.StringIO()
  rows = [
    {"study": session["study"], "participant": session["participant"], **row}
    for row in session["responses"]
  ]
  writer = csv.DictWriter(buffer, rows[0])
  writer.writeheader()
  writer.writerows(rows)
  return buffer.getvalue().encode()
