"""Diversity of embeddings: known cases, and pairs counted one by one."""

import numpy as np
import pytest

from visual_memory.analysis import diversity
from visual_memory.reports import pictures


def test_known_vendi_scores():
  alike = np.ones((6, 4), np.float32) / 2
  assert diversity.vendi_score(alike) == pytest.approx(1.0, abs=1e-5)
  apart = np.eye(6, 9, dtype=np.float32)
  assert diversity.vendi_score(apart) == pytest.approx(6.0, abs=1e-5)
  # Two groups of alike rows, whichever of both sides is larger.
  groups = np.repeat(np.eye(2, 9, dtype=np.float32), 3, 0)
  assert diversity.vendi_score(groups) == pytest.approx(2.0, abs=1e-5)
  assert diversity.vendi_score(groups[:, :2]) == pytest.approx(2.0, abs=1e-5)


def test_spread_is_the_mean_over_pairs():
  rows = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
  rows = diversity.centered(rows)
  np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
  pairs = [1 - rows[i] @ rows[j] for i in range(7) for j in range(7) if i != j]
  assert diversity.spread(rows) == pytest.approx(np.mean(pairs), abs=1e-6)


def test_contact_sheets_are_in_reading_order():
  images = np.arange(6, dtype=np.uint8)[:, None, None, None]
  images = np.broadcast_to(images, (6, 2, 2, 3))
  sheet = pictures.contact_sheet(images, columns=3)
  assert sheet.shape == (4, 6, 3)
  np.testing.assert_array_equal(sheet[::2, ::2, 0], [[0, 1, 2], [3, 4, 5]])
  with pytest.raises(ValueError, match="leave out 2"):
    pictures.contact_sheet(images, columns=4)


def test_edges_see_shapes_and_not_colors():
  """Each cell of a picture of vertical stripes votes for one orientation."""
  line = np.where(np.arange(32) // 4 % 2, 200, 40).astype(np.uint8)
  across = np.broadcast_to(line[None, :, None], (32, 32, 3))
  dim = across // 2 + 10
  images = np.stack([across, across.swapaxes(0, 1), dim, np.zeros_like(dim)])
  rows = diversity.edge_rows(images)
  assert rows.shape == (4, 9 * 9 * 4) and rows.dtype == np.float32
  used = (rows[:2].reshape(2, -1, 9) > 1e-6).sum(-1)
  np.testing.assert_array_equal(used, 1)
  assert rows[0] @ rows[2] == pytest.approx(1.0, abs=1e-3)
  assert rows[0] @ rows[1] == pytest.approx(0.0, abs=1e-6)
  assert not rows[3].any()
  with pytest.raises(ValueError, match="16 x 16"):
    diversity.edge_rows(images[:, :8, :8])
