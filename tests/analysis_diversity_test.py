"""Diversity of embeddings: known cases, and pairs counted one by one."""

import numpy as np
import pytest

from visual_memory.analysis import diversity
from visual_memory.reports import contact_sheet


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
  sheet = contact_sheet.contact_sheet(images, columns=3)
  assert sheet.shape == (4, 6, 3)
  np.testing.assert_array_equal(sheet[::2, ::2, 0], [[0, 1, 2], [3, 4, 5]])
  with pytest.raises(ValueError, match="leave out 2"):
    contact_sheet.contact_sheet(images, columns=4)
