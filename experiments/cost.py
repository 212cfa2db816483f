"""What a memory costs beside a linear probe: to learn, ask, keep and edit."""

import numpy as np

from experiments import needs, stages
from experiments.study import finish_study, open_study
from visual_memory.analysis.latency import time_calls
from visual_memory.data import selection
from visual_memory.encoders.embedding import embed as embed_lib
from visual_memory.memory.memory import VisualMemory
from visual_memory.probes import logistic_regression
from visual_memory.reports.sections import cost as sections
from visual_memory.retrieval import exact
from visual_memory.voting import vote


def main(config, workdir, mesh) -> None:
  """Times the same work of both, and reports it beside the published."""
  study = open_study(config, workdir, mesh, tune=False)
  needs.images(study)
  changed = study.embedded.class_names[-1]
  known = study.embedded.take(study.embedded.labels >= 0)
  inside = known.labels == len(known.class_names) - 1
  parts = known.take(~inside), known.take(inside)
  left = study.labels != len(known.class_names) - 1
  with study.clock("embedding"):
    embedding_s = _embedding(config, study, mesh)
  found = {}
  with study.clock("memory"):
    found["memory"] = _memory(config, study, known, parts, left, mesh)
  with study.clock("linear probe"):
    found["linear probe"] = _probe(config, study, known, parts, left)
  given = {"embedding_s": embedding_s, "changed": changed}
  finish_study(
    workdir, config, study,
    sections=sections.cost(found, num_rows=len(known), **given),
    values=sections.values(found, **given),
  )  # fmt: skip


def _embedding(config, study, mesh):
  """Seconds to embed an image, many at once."""
  some = selection.sample(
    study.rows_source, config.timing.num_embedded, seed=config.seed
  )
  timed = time_calls(
    lambda: embed_lib.embed(study.encoder, some, mesh=mesh),
    repeats=1, warm_up=1, per_call=len(some),
  )  # fmt: skip
  return 1 / timed.per_second


def _memory(config, study, known, parts, left, mesh):
  """The memory's costs."""
  others, own = parts
  setting = stages.voter_settings(config.voting)[config.voting.voter]
  k, timing = config.voting.k, config.timing

  def ready(memory):
    memory.rows.labels.block_until_ready()
    return memory

  def answer(memory, asked):
    near = exact.search(asked, memory, k=k)
    return vote.predict(
      near, [setting], ks=(k,), num_classes=study.num_classes
    )[0][0]

  build = lambda rows: ready(VisualMemory.from_embedded(rows, mesh=mesh))
  once = lambda call: _timed(call, timing.repeats)
  whole, less = build(known), build(others)
  asked = study.queries.embeddings
  return sections.Cost(
    learn=once(lambda: build(known)),
    ask=_asked(lambda part: answer(whole, part), asked, timing),
    num_bytes=known.embeddings.nbytes + known.labels.nbytes,
    add_class=once(lambda: ready(less.add(own))),
    remove_class=once(lambda: ready(whole.remove(own.ids))),
    accuracy=_right(answer(whole, asked), study.labels),
    accuracy_without=_right(answer(less, asked[left]), study.labels[left]),
  )


def _probe(config, study, known, parts, left):
  """The probe's costs; every change is a new fit."""
  options, asked = config.probe, study.queries.embeddings
  fit = lambda rows, classes: logistic_regression.fit(
    rows.embeddings, rows.labels, strength=options.strength,
    num_classes=classes, max_steps=options.max_steps,
  )  # fmt: skip
  count = len(known.class_names)
  fitted, less = fit(known, count), fit(parts[0], count - 1)
  once = lambda call: _timed(call, config.timing.repeats)
  all_rows = once(lambda: fit(known, count))
  return sections.Cost(
    learn=all_rows,
    ask=_asked(fitted.predict, asked, config.timing),
    num_bytes=fitted.weights.nbytes + fitted.bias.nbytes,
    add_class=all_rows,  # From nine classes to ten is a fit of the ten.
    remove_class=once(lambda: fit(parts[0], count - 1)),
    accuracy=_right(fitted.predict(asked), study.labels),
    accuracy_without=_right(less.predict(asked[left]), study.labels[left]),
  )


def _asked(answer, asked, timing):
  """How long answers take, by how many are asked for at once."""
  return {
    size: time_calls(
      lambda part=asked[:size]: answer(part), repeats=repeats, per_call=size
    )
    for size, repeats in timing.batches
    if size <= len(asked)
  }


def _timed(call, repeats):
  return time_calls(call, repeats=repeats, per_call=1, warm_up=1)


def _right(predictions, labels):
  return float(np.mean(np.asarray(predictions) == labels))
