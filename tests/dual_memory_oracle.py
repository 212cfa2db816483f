"""A dual memory network in float64 NumPy, one image at a time.

Written from the paper and the published description alone; it shares no code
with the library. Slow and plain on purpose.
"""

import numpy as np


def unit(x):
  x = np.asarray(x, np.float64)
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def softmax(x):
  x = x - x.max()
  return np.exp(x) / np.exp(x).sum()


class Network:
  """text [C, D]; shots [C, S, D] or None; biases: dict of [C, D] or None."""

  def __init__(
    self, text, shots, *, biases=None, slots=50, beta=5.5, tau=100.0, share=0.1
  ):
    self.text = np.asarray(text, np.float64)
    self.shots = shots
    self.tau, self.beta, self.share = tau, beta, share
    zero = np.zeros_like(self.text)
    self.biases = {
      name: zero if biases is None else np.asarray(biases[name], np.float64)
      for name in ("query", "key", "value", "output", "text")
    }
    num_classes, dim = self.text.shape
    self.slots = np.zeros((num_classes, slots, dim))
    self.entropies = np.zeros((num_classes, slots))
    self.counts = np.zeros(num_classes, int)

  def head(self, view):
    classifier = unit(self.text + self.biases["text"])
    return softmax(self.tau * classifier @ view)

  def guess(self, views):
    """Pseudo-label and entropy of the surest views."""
    scores = np.stack([self.head(view) for view in views])
    entropies = -(scores * np.log(scores + 1e-6)).sum(axis=1)
    kept = max(1, int(len(views) * self.share))
    best = np.argsort(entropies, kind="stable")[:kept]
    mean = scores[best].mean(axis=0)
    return int(mean.argmax()), -(mean * np.log(mean + 1e-8)).sum()

  def write(self, embedding, label, entropy):
    count, (_, capacity) = self.counts[label], self.entropies.shape
    if count < capacity:
      place = count
      self.counts[label] += 1
    else:
      place = int(self.entropies[label].argmax())
      if not entropy < self.entropies[label, place]:
        return
    self.slots[label, place] = embedding
    self.entropies[label, place] = entropy

  def read(self, query, rows_of_class):
    logits = []
    asked = unit(query + self.biases["query"].mean(axis=0))
    for label, rows in enumerate(rows_of_class):
      keys = unit(rows + self.biases["key"][label])
      values = unit(rows + self.biases["value"][label])
      weights = np.exp(-self.beta * (1 - keys @ asked))
      answer = unit((weights[:, None] * values).sum(axis=0))
      answer = unit(answer + self.biases["output"][label])
      logits.append(self.tau * answer @ query)
    return softmax(np.array(logits))

  def fixed(self, label):
    rows = self.text[label][None]
    if self.shots is None:
      return rows
    return np.concatenate([rows, np.asarray(self.shots[label], np.float64)])

  def step(self, views):
    """Text, dynamic and static probabilities; no shots, no static ones."""
    center = np.asarray(views[0], np.float64)
    label, entropy = self.guess(views)
    self.write(center, label, entropy)
    everything = range(len(self.text))
    dynamic = [
      np.concatenate([self.slots[c, : self.counts[c]], self.fixed(c)])
      for c in everything
    ]
    return (
      self.head(center),
      self.read(center, dynamic),
      None
      if self.shots is None
      else self.read(center, [self.fixed(c) for c in everything]),
    )


GRID = [1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000]


def published_weights(text, dynamic, static, labels):
  """The released search on test labels: the first strict improvement wins.

  Returns:
    Both weights (0 for an absent static memory), right answers, tried pairs.
  """
  best, right, tried = None, -1, 0
  for of_dynamic in GRID:
    for of_static in [0] if static is None else GRID:
      tried += 1
      scores = text + of_dynamic * dynamic
      if static is not None:
        scores = scores + of_static * static
      count = int((scores.argmax(axis=1) == labels).sum())
      if count > right:
        best, right = (of_dynamic, of_static), count
  return *best, right, tried


def static_logits(network, query):
  """log probabilities of the static memory, for the training loss."""
  rows = [network.fixed(c) for c in range(len(network.text))]
  return np.log(network.read(np.asarray(query, np.float64), rows))
