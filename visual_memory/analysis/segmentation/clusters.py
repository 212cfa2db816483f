"""k-means of a picture's patches, judged against its mask.

Reference: procedural-data paper, App. B.4, Figs. 18-19 (shown, not scored, and
K unpublished). Scored here: each cluster is matched to at most one class so
that the summed IoU is largest (Hungarian algorithm).
"""

import numpy as np
from jaxtyping import Float, Int

from visual_memory.types import UNLABELED


def cluster(
  features: Float[np.ndarray, "h w D"], *, num_clusters: int, seed: int
) -> Int[np.ndarray, "h w"]:
  """The cluster of each patch: scikit-learn's k-means, k-means++ seeding.

  Raises:
    ValueError: more clusters than patches.
  """
  from sklearn.cluster import KMeans

  rows, columns, dim = features.shape
  if num_clusters > rows * columns:
    raise ValueError(
      f"{num_clusters} clusters cannot be made of {rows * columns} patches."
    )
  found = KMeans(num_clusters, n_init=3, random_state=seed).fit(
    features.reshape(-1, dim)
  )
  return found.labels_.reshape(rows, columns).astype(np.int32)


def matched_iou(
  clusters: Int[np.ndarray, "H W"], mask: Int[np.ndarray, "H W"]
) -> Float[np.ndarray, "M"]:
  """The IoU of each class of a mask with the cluster matched to it.

  The best one-to-one matching; a class beyond the number of clusters gets 0.
  """
  from scipy.optimize import linear_sum_assignment

  counted = mask != UNLABELED
  classes, true = np.unique(mask[counted], return_inverse=True)
  names, found = np.unique(clusters[counted], return_inverse=True)
  both = np.zeros((len(classes), len(names)), np.int64)
  np.add.at(both, (true, found), 1)
  either = both.sum(axis=1)[:, None] + both.sum(axis=0)[None] - both
  iou = both / np.maximum(either, 1)
  rows, columns = linear_sum_assignment(iou, maximize=True)
  result = np.zeros(len(classes))
  result[rows] = iou[rows, columns]
  return result
