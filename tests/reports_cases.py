"""A small evaluation and its report, for the tests of reports."""

import numpy as np

from visual_memory.reports import gallery, page
from visual_memory.reports import results as results_lib
from visual_memory.reports.sections import evaluation
from visual_memory.types import Neighbors

CONFIG = {"encoder": {"name": "pixels", "size": 8}, "seed": 0, "ks": (1, 3)}


NAMES = ("cat", "dog", "<script>alert('&')</script>")


def make_neighbors(num_queries=6, k=3):
  rng = np.random.default_rng(0)
  indices = rng.integers(0, 50, (num_queries, k)).astype(np.int32)
  ids = np.array([[f"row/{i}" for i in row] for row in indices], object)
  similarities = -np.sort(-rng.random((num_queries, k)), axis=1)
  return Neighbors(
    ids=ids,
    indices=indices,
    labels=(indices % len(NAMES)).astype(np.int32),
    similarities=similarities.astype(np.float32),
  )


def make_results(**changes):
  """Six queries: one unlabeled, one of a class (2) the memory lacks."""
  return results_lib.summarize(
    **{
      "predictions": {
        "plurality": np.array([[0, 0, 1, 1, 1, 0], [0, 1, 1, 0, 1, 0]]),
        "rank": np.array([[0, 0, 1, 1, 1, 0], [0, 0, 1, 0, 1, 0]]),
      },
      "labels": np.array([0, 0, 1, 0, 2, -1]),
      "ks": (1, 3),
      "class_names": NAMES,
      "voter": "rank",
      "k": 3,
      "chosen_by": "tuning split",
      "fingerprint": "f00d",
      "absent_classes": (2,),
      **changes,
    }
  )


def make_gallery(image=None, *, num=4):
  near = make_neighbors(num)
  return gallery.build_gallery(
    near,
    np.array([[0.5, 0.25]] * num),
    range(num),
    labels=np.array([0, 1] * num)[:num],
    predictions=np.array([0, 0] * num)[:num],
    ids=[f"query/{i}" for i in range(num)],
    class_names=NAMES,
    query_image=lambda row: image,
    memory_image=lambda row_id: image,
  )


def make_page(
  found=None, *, query_sets=None, edits=None, shown=None, **changes
):
  """A page about an evaluation, and the values of its report.json."""
  found = make_results() if found is None else found
  told = {
    "query_sets": query_sets
    or {"hard / odd": make_results(voter="plurality", k=1)},
    "edits": edits
    or [
      evaluation.Edit(
        name="add dog",
        rows_before=40,
        rows_after=50,
        before={"all": 0.25},
        after={"all": 0.75, "new": 0.5},
      )
    ],
  }
  if shown is None:
    shown = make_gallery(np.full((8, 8, 3), 7, np.uint8))
  made = page.Page(
    **{
      "title": "A <b>title</b>",
      "sections": tuple(evaluation.sections(found, gallery=shown, **told)),
      "config": CONFIG,
      "tiles": evaluation.tiles(found),
      "timings": {"search_s": 0.5},
      "counts": {**found.counts(), "memory_rows": 50},
      "skipped": (page.Skipped(name="a/<i>bad</i>.jpg", reason="truncated"),),
      "notes": evaluation.notes(found),
      "fingerprint": found.neighbors_fingerprint,
      "env": {"command": "python -m experiments.launch", "commit": None},
      **changes,
    }
  )
  return made, evaluation.values(found, **told)


def render(**changes):
  return page.render_page(make_page(**changes)[0])
