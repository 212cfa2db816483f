"""Dual memory networks: against float64 NumPy, both forms, devices, edits."""

import dataclasses

import dual_memory_oracle as oracle
import jax
import numpy as np
import pytest

from visual_memory import distributed
from visual_memory.dual_memory import (
  dual_memory,
  dynamic_memory,
  fusion,
  guesses,
  lifetimes,
  reading,
  streams,
  stretch_reads,
)
from visual_memory.dual_memory.dual_memory import Settings, class_rows

N, V, C, D, L, S = 500, 4, 12, 256, 7, 3
BIASES = ("query", "key", "value", "output", "text")


def unit(rows):
  return oracle.unit(rows).astype(np.float32)


@dataclasses.dataclass
class Case:
  """A stream around random class directions; class 11 stays empty."""

  text: np.ndarray
  shots: np.ndarray
  views: np.ndarray
  biases: dict


@pytest.fixture(scope="module")
def case():
  rng = np.random.default_rng(0)
  text = unit(rng.normal(size=(C, D)))
  true = rng.choice(C - 2, p=[0.5, *[0.5 / 9] * 9], size=N)  # One class floods.
  noise = rng.normal(size=(N, 1, D)) + 0.4 * rng.normal(size=(N, V, D))
  # Nothing looks like class 11.
  views = unit(0.2 * text[true][:, None] - 0.4 * text[11] + noise / 16)
  shots = unit(0.5 * text[:, None] + rng.normal(size=(C, S, D)) / 16)
  biases = {
    name: (0.3 / 16 * rng.normal(size=(C, D))).astype(np.float32)
    for name in BIASES
  }
  return Case(text=text, shots=shots, views=views, biases=biases)


VARIANTS = {
  "zero-shot": (False, False),
  "training-free": (True, False),
  "few-shot": (True, True),
}


def ours(case, shots, trained, *, mesh, fraction=0.5, **settings):
  """Answers of the library; every query is read with the whole stream."""
  projection = (
    reading.BiasProjection(**case.biases) if trained else dual_memory.IDENTITY
  )
  settings = Settings(num_slots=L, **settings)
  guess = guesses.text_pseudo_labels(
    case.views, case.text, projection=projection,
    inverse_temperature=settings.inverse_temperature, fraction=fraction,
    mesh=mesh,
  )  # fmt: skip
  fixed = class_rows(
    text=case.text, shots=case.shots if shots else None,
    num_classes=len(case.text), dim=case.text.shape[1],
  )  # fmt: skip
  answers = dual_memory.answer(
    case.views[:, 0], guess, fixed=fixed, settings=settings, mesh=mesh,
    projection=projection, ids=[str(i) for i in range(len(case.views))],
  )  # fmt: skip
  return guess, answers


@pytest.fixture(scope="module")
def answered(case):
  """(guess, answers) of every variant on eight devices."""
  mesh = distributed.make_mesh()
  return {
    name: ours(case, *given, mesh=mesh, keep_log=True)
    for name, given in VARIANTS.items()
  }


@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_float64_numpy(case, answered, variant):
  shots, trained = VARIANTS[variant]
  network = oracle.Network(
    case.text, case.shots if shots else None, slots=L, share=0.5,
    biases=case.biases if trained else None,
  )  # fmt: skip
  expected = _stacked(map(network.step, case.views))
  _, answers = answered[variant]
  # The stream is worth testing: full classes, replacements, empty classes.
  assert (network.counts == L).sum() >= 8 and (network.counts == 0).any()
  branches = answers.branches
  # tau = 100 makes 1e-7 of a cosine 1e-5 of a logit, at most 2.5e-6 here.
  np.testing.assert_allclose(branches.base, expected[0], atol=1e-5)
  np.testing.assert_allclose(branches.dynamic, expected[1], atol=1e-5)
  if not shots:
    assert branches.static is None and expected[2] is None
  else:
    np.testing.assert_allclose(branches.static, expected[2], atol=1e-5)
  np.testing.assert_allclose(
    answers.memory.embeddings, network.slots, atol=1e-7
  )
  np.testing.assert_array_equal(answers.memory.book.counts, network.counts)


def _stacked(steps):
  """Probabilities of each part for all images; None for an absent part."""
  return [
    None if part[0] is None else np.stack(part)
    for part in zip(*steps, strict=True)
  ]


@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_the_released_network_at_its_own_settings(variant):
  """32 views of which 3 are kept, then the search on test labels."""
  rng = np.random.default_rng(7)
  shots, trained = VARIANTS[variant]
  text = unit(rng.normal(size=(6, 64)))
  labels = rng.integers(0, 6, 160)
  noise = rng.normal(size=(160, 1, 64)) + 0.5 * rng.normal(size=(160, 32, 64))
  views = unit(0.25 * text[labels][:, None] + noise / 8)
  case = Case(
    text=text,
    shots=unit(0.3 * text[:, None] + rng.normal(size=(6, 4, 64)) / 8),
    views=views,
    biases={
      name: (0.02 * rng.normal(size=(6, 64))).astype(np.float32)
      for name in BIASES
    },
  )
  network = oracle.Network(
    text, case.shots if shots else None, slots=L,
    biases=case.biases if trained else None,
  )  # fmt: skip
  expected = _stacked(map(network.step, views))
  guess, answers = ours(
    case, shots, trained, mesh=distributed.make_mesh(), fraction=0.1
  )
  found = answers.branches
  for name, part in zip(("base", "dynamic", "static"), expected, strict=True):
    if part is None:
      assert getattr(found, name) is None
    else:
      np.testing.assert_allclose(getattr(found, name), part, atol=5e-5)
  assert (network.counts == L).sum() >= 3
  of_dynamic, of_static, right, tried = oracle.published_weights(
    *expected, labels
  )
  assert tried == (169 if shots else 13)
  alpha, accuracy = fusion.choose_alpha(found, labels, as_published=True)
  assert alpha.dynamic == pytest.approx(of_dynamic)
  assert alpha.static == pytest.approx(of_static)
  assert accuracy == right / 160
  scores = expected[0] + of_dynamic * expected[1]
  if shots:
    scores += of_static * expected[2]
  fused = fusion.fuse(found, alpha)
  np.testing.assert_allclose(
    fused / fused.sum(axis=1, keepdims=True),
    scores / scores.sum(axis=1, keepdims=True),
    atol=5e-5,
  )
  np.testing.assert_array_equal(fused.argmax(axis=1), scores.argmax(axis=1))
  assert (network.guess(views[0])[0], 160) == (guess.labels[0], len(views))


@pytest.mark.parametrize("order", streams.ORDERS)
def test_one_at_a_time_equals_all_at_once(case, answered, order):
  guess, _ = answered["few-shot"]
  mesh = distributed.make_mesh(1)
  found = {}
  for form in streams.FORMS:
    memory = dynamic_memory.empty_memory(
      num_classes=C, num_slots=L, dim=D, keep_log=False
    )
    found[form] = streams.stream(
      memory, case.views[:, 0], guess.labels, guess.entropies, ids=None,
      fixed=class_rows(text=None, shots=None, num_classes=C, dim=D),
      projection=reading.BiasProjection(**case.biases),
      sharpness=5.5, order=order, form=form, mesh=mesh,
    )  # fmt: skip
  (scan, one), (parallel, many) = found["scan"], found["parallel"]
  np.testing.assert_allclose(one, many, atol=2e-6)  # -inf in equal places.
  assert np.isinf(one).any() and np.isfinite(one).any()
  np.testing.assert_array_equal(scan.embeddings, parallel.embeddings)
  for name in ("items", "entropies", "counts"):
    np.testing.assert_array_equal(
      getattr(scan.book, name), getattr(parallel.book, name)
    )


def test_device_count_and_chunks_change_nothing(case, answered, monkeypatch):
  guess, answers = answered["training-free"]
  _, alone = ours(case, True, False, mesh=distributed.make_mesh(1))
  three = ours(case, True, False, mesh=distributed.make_mesh(3))[1]
  for part in ("base", "dynamic", "static"):
    for other in (alone, three):
      np.testing.assert_array_equal(
        getattr(answers.branches, part), getattr(other.branches, part)
      )
  monkeypatch.setattr(stretch_reads, "STRETCH", 40)
  _, small = ours(case, True, False, mesh=distributed.make_mesh())
  np.testing.assert_allclose(
    small.branches.dynamic, answers.branches.dynamic, atol=1e-5
  )


def test_resumed_in_the_middle_is_the_same(case, answered, tmp_path):
  guess, whole = answered["training-free"]
  mesh = distributed.make_mesh(1)
  fixed = class_rows(text=case.text, shots=case.shots, num_classes=C, dim=D)
  settings, memory, parts = Settings(num_slots=L, keep_log=True), None, []
  for start, stop in ((0, 203), (203, N)):
    rows = slice(start, stop)
    part = dataclasses.replace(
      guess, scores=guess.scores[rows], labels=guess.labels[rows],
      entropies=guess.entropies[rows],
    )  # fmt: skip
    answers = dual_memory.answer(
      case.views[rows, 0], part, fixed=fixed, settings=settings, mesh=mesh,
      memory=memory, ids=[str(i) for i in range(start, stop)],
    )  # fmt: skip
    dynamic_memory.save(answers.memory, tmp_path / "state.npz")
    memory = dynamic_memory.load(tmp_path / "state.npz")
    parts.append(answers.branches.dynamic)
  np.testing.assert_allclose(
    np.concatenate(parts), whole.branches.dynamic, atol=1e-5
  )
  _same_memory(memory, whole.memory)


def _same_memory(one, other):
  np.testing.assert_array_equal(one.embeddings, other.embeddings)
  for name in ("items", "entropies", "counts", "time"):
    np.testing.assert_array_equal(
      getattr(one.book, name), getattr(other.book, name)
    )
  np.testing.assert_array_equal(one.log.ids, other.log.ids)


def test_forgotten_is_as_if_never_seen(case, answered, tmp_path):
  guess, whole = answered["training-free"]
  held = whole.memory.book.items
  gone = [int(held[0, 2]), int(held[3, 0]), 0]  # Two kept, one perhaps not.
  memory = dynamic_memory.forget(whole.memory, [str(i) for i in gone])
  stay = np.setdiff1d(np.arange(N), gone)
  never = dataclasses.replace(case, views=case.views[stay])
  _, expected = ours(never, True, False, mesh=distributed.make_mesh(1),
                     keep_log=True)  # fmt: skip
  np.testing.assert_array_equal(memory.embeddings, expected.memory.embeddings)
  np.testing.assert_array_equal(memory.book.items, expected.memory.book.items)
  # Its place was taken by an item that had found none, or had been replaced.
  assert memory.book.counts[0] == L
  dynamic_memory.save(memory, tmp_path / "state.npz")
  saved = (tmp_path / "state.npz").read_bytes()
  assert case.views[gone[0], 0].tobytes() not in saved
  with pytest.raises(ValueError, match="never shown '777'"):
    dynamic_memory.forget(memory, ["777"])
  without = dataclasses.replace(memory, log=None)
  with pytest.raises(ValueError, match="keep_log=True"):
    dynamic_memory.forget(without, ["1"])


def test_schedule_by_hand():
  book = lifetimes.empty_book(num_classes=2, num_slots=2)
  labels = np.array([0, 0, 0, 1, 0, 0], np.int32)
  entropies = np.array([0.5, 0.9, 0.9, 0.1, 0.4, 0.3], np.float32)
  lives = lifetimes.schedule(labels, entropies, book=book)
  # Item 2 ties with the highest and is skipped; 4 replaces 1, 5 replaces 0.
  np.testing.assert_array_equal(lives.slots, [0, 1, -1, 0, 1, 0])
  np.testing.assert_array_equal(lives.deaths, [5, 4, *[lifetimes.NEVER] * 4])
  np.testing.assert_array_equal(lives.book.items, [[5, 4], [3, -1]])


def test_nothing_recompiles(case, answered):
  guess, _ = answered["training-free"]
  mesh = distributed.make_mesh()
  ours(case, True, False, mesh=mesh)
  before = distributed.on_devices._cache_size()
  ours(case, True, False, mesh=mesh)
  after = distributed.on_devices._cache_size()
  assert before == after


def test_alpha_grid_against_a_loop():
  rng = np.random.default_rng(1)
  parts = rng.dirichlet(np.ones(5), size=(3, 80)).astype(np.float32)
  labels = rng.integers(0, 5, 80)
  branches = fusion.Branches(base=parts[0], dynamic=parts[1], static=parts[2])
  best, right = None, -1
  for d in fusion.GRID:
    for s in fusion.GRID:
      scores = parts[0] + np.float32(d) * parts[1] + np.float32(s) * parts[2]
      count = (scores.argmax(axis=1) == labels).sum()
      if count > right:
        best, right = (d, s), count
  alpha, accuracy = fusion.choose_alpha(branches, labels, as_published=True)
  assert (alpha.dynamic, alpha.static) == pytest.approx(best)
  assert accuracy == right / 80
  assert fusion.accuracy(fusion.fuse(branches, alpha), labels) == right / 80
  even, same = fusion.choose_alpha(branches, labels)
  assert same == accuracy  # As many right, nearer to weights of one.
  near = lambda a: abs(np.log(a.dynamic)) + abs(np.log(a.static))
  assert near(even) <= near(alpha)
  alone = dataclasses.replace(branches, dynamic=None)
  assert fusion.choose_alpha(alone, labels)[0].dynamic == 0
  with pytest.raises(ValueError, match="No query has a label"):
    fusion.choose_alpha(branches, np.full(80, -1))


def test_bad_input(case, answered):
  guess, _ = answered["zero-shot"]
  mesh = distributed.make_mesh(1)
  fixed = class_rows(text=case.text, shots=None, num_classes=C, dim=D)
  run = lambda queries, **settings: dual_memory.answer(
    queries, guess, fixed=fixed, settings=Settings(**settings), mesh=mesh
  )
  queries = case.views[:, 0].copy()
  with pytest.raises(ValueError, match="0 slots.*dynamic=False"):
    run(queries, num_slots=0)
  with pytest.raises(ValueError, match="order cannot be 'late'"):
    run(queries, order="late")
  queries[17, 3] = np.nan
  with pytest.raises(ValueError, match="row 17 .*NaN"):
    run(queries)
  with pytest.raises(ValueError, match="fraction"):
    guesses.num_kept(32, 0.0)
  assert guesses.num_kept(1, 0.1) == 1  # Published: none, and NaN.
  assert guesses.num_kept(32, 0.1) == 3


def test_no_row_at_all_is_an_even_answer():
  nothing = np.full((2, 4), -np.inf, np.float32)
  scores = reading.probabilities(nothing, inverse_temperature=100.0)
  np.testing.assert_array_equal(scores, np.full((2, 4), 0.25))
  jax.block_until_ready(scores)
