"""The same pictures in any batch, on any devices."""

import jax
import numpy as np

from visual_memory import distributed
from visual_memory.procedural import source

KEY = jax.random.key(3)


def test_batch_size_devices_and_order_change_nothing():
  together = source.sample_images(KEY, np.arange(8), size=32, seed=0)
  # Eight devices draw one picture each; here in another order, and one twice.
  ids = np.array([5, 1, 2, 7, 0, 0, 6], np.int32)
  apart = source.sample_images(
    KEY, ids, size=32, seed=0, mesh=distributed.make_mesh(8)
  )
  np.testing.assert_array_equal(np.asarray(apart), np.asarray(together)[ids])
