"""Every number that the visual-memory paper prints and that can be compared.

  EXPECTED["table4"][0]      # Expected("plurality, k = 10", 83.2, path)

Each has a name, the published value (percent, unless its unit says otherwise)
and where ours stands in the run's report.json: keys one below the other, list
positions as numbers. Ours are fractions, and are shown in percent. A value that
no run of ours computes has no path.

Source: Geirhos et al., "Towards flexible perception with visual memory", ICML
2025, tables 1 to 10, section 3 and appendices J to N, as printed.
"""

import dataclasses

_VOTERS = ("plurality", "distance", "softmax", "rank")
_KS = range(10, 101, 10)


@dataclasses.dataclass(frozen=True)
class Expected:
  """One published value.

  Attributes:
    what: which.
    value: as printed.
    path: of ours in report.json; None where there is none.
    unit: "%", or another unit, whose values are compared as they are.
    scale: ours is multiplied by it (fractions: 100).
  """

  what: str
  value: float
  path: tuple[str | int, ...] | None
  unit: str = "%"
  scale: float = 100.0


def _voters_by_k(encoder: str, rows: dict[str, str]) -> list[Expected]:
  """Tables 4 to 8: a row of ten values for each voter."""
  return [
    Expected(
      f"{voter}, k = {k}",
      float(value),
      ("encoders", encoder, "accuracy", voter, str(k)),
    )
    for voter, values in rows.items()
    for k, value in zip(_KS, values.split(), strict=True)
  ]


def _best(encoder: str, none: float, values: str) -> list[Expected]:
  """Table 9: no aggregation, then the best k of each voter."""
  return [
    Expected(
      f"{encoder}, nearest neighbor",
      none,
      ("encoders", encoder, "accuracy", "plurality", "1"),
    ),
    *(
      Expected(
        f"{encoder}, {voter}, best k on the test queries",
        float(value),
        ("encoders", encoder, "as_published", voter, "accuracy"),
      )
      for voter, value in zip(_VOTERS, values.split(), strict=True)
    ),
  ]


def _pruned(treatment: str, values: str) -> list[Expected]:
  """A row of table 3."""
  return [
    Expected(
      f"{treatment} pruning, {voter}",
      float(value),
      ("as_published", treatment, voter, "accuracy"),
    )
    for voter, value in zip(_VOTERS, values.split(), strict=True)
  ]


def _lifelong(place: int, what: str, values: str) -> list[Expected]:
  """A row of table 1: the nearest row, then every voter."""
  none, *voters = map(float, values.split())
  return [
    Expected(f"{what}, nearest neighbor", none, ("lifelong", place, "nearest")),
    *(
      Expected(
        f"{what}, {voter}",
        value,
        ("lifelong", place, "as_published", voter, "accuracy"),
      )
      for voter, value in zip(_VOTERS, voters, strict=True)
    ),
  ]


def _other_sets(row: str, values: str, *, ours: bool) -> list[Expected]:
  """A row of table 2; the paper does not say by which voter."""
  sets = {"a": "A", "r": "R", "sketch": "Sketch", "v2": "V2", "real": "ReaL"}
  place = ("protocols", 0, "as_published", BEST, "accuracy")
  return [
    Expected(
      f"{name}, {row}", float(value), ("sets", key, *place) if ours else None
    )
    for (key, name), value in zip(sets.items(), values.split(), strict=True)
  ]


BEST = "*"
"""In a path: the largest of what follows, over all keys."""

EXPECTED: dict[str, list[Expected]] = {
  "table1": [
    *_lifelong(0, "ImageNet before", "81.1 83.2 83.3 83.6 83.6"),
    *_lifelong(1, "ImageNet after", "81.1 83.2 83.3 83.5 83.6"),
    *_lifelong(2, "NINCO after", "86.4 86.9 87.1 87.5 87.4"),
  ],
  "table2": [
    *_other_sets("ImageNet", "58.8 62.8 61.5 75.6 87.1", ours=True),
    *_other_sets("ImageNet, Gemini", "68.4 72.3 72.5 81.7 89.9", ours=False),
    *_other_sets("JFT", "61.1 73.7 68.0 77.6 88.2", ours=False),
    *_other_sets("JFT, Gemini", "69.6 81.4 75.0 82.3 90.5", ours=False),
    *_other_sets("linear probe", "71.3 74.4 59.3 78.0 89.5", ours=False),
  ],
  "table3": [
    *_pruned("none", "83.2 83.3 83.6 83.6"),
    *_pruned("hard", "83.3 83.4 83.6 83.7"),
    *_pruned("soft", "83.6 83.6 83.9 84.1"),
  ],
  "table4": _voters_by_k(
    "dinov2_vitl14",
    {
      "plurality": "83.2 82.9 82.6 82.4 82.1 82.0 81.8 81.6 81.5 81.4",
      "distance": "83.3 83.0 82.7 82.4 82.2 82.1 81.9 81.7 81.6 81.5",
      "softmax": "83.5 83.5 83.4 83.3 83.2 83.1 83.1 83.0 82.9 82.9",
      "rank": "83.5 83.6 83.6 83.5 83.5 83.4 83.3 83.3 83.3 83.3",
    },
  ),
  "table5": _voters_by_k(
    "dinov2_vitb14",
    {
      "plurality": "81.8 81.4 81.1 80.9 80.7 80.4 80.2 80.0 79.8 79.6",
      "distance": "81.9 81.5 81.2 81.0 80.8 80.5 80.3 80.0 79.9 79.7",
      "softmax": "82.0 82.0 81.9 81.8 81.7 81.7 81.6 81.5 81.3 81.3",
      "rank": "82.1 82.2 82.1 82.0 82.0 82.0 81.9 81.9 81.9 81.9",
    },
  ),
  "table6": _voters_by_k(
    "dinov2_vits14",
    {
      "plurality": "78.6 78.2 77.8 77.4 77.1 76.8 76.5 76.3 76.1 75.9",
      "distance": "78.8 78.4 77.9 77.5 77.2 76.9 76.6 76.4 76.2 76.0",
      "softmax": "78.9 78.9 78.7 78.6 78.5 78.3 78.1 78.0 77.9 77.7",
      "rank": "78.9 79.1 79.0 78.9 78.9 78.9 78.9 78.8 78.8 78.8",
    },
  ),
  "table7": _voters_by_k(
    "clip_vitl14",
    {
      "plurality": "79.0 78.7 78.3 78.0 77.8 77.6 77.4 77.4 77.2 77.0",
      "distance": "79.2 78.9 78.5 78.2 78.0 77.8 77.6 77.5 77.3 77.1",
      "softmax": "79.3 79.3 79.1 78.9 78.8 78.7 78.5 78.5 78.4 78.2",
      "rank": "79.3 79.6 79.7 79.7 79.7 79.7 79.7 79.7 79.7 79.7",
    },
  ),
  "table8": _voters_by_k(
    "clip_vitb16",
    {
      "plurality": "72.8 72.6 72.3 72.0 71.7 71.4 71.2 70.9 70.8 70.5",
      "distance": "73.1 72.9 72.6 72.3 71.9 71.6 71.4 71.1 70.9 70.6",
      "softmax": "73.3 73.3 73.1 72.9 72.7 72.5 72.3 72.1 71.9 71.7",
      "rank": "73.0 73.7 73.8 73.8 73.8 73.8 73.7 73.7 73.7 73.7",
    },
  ),
  "table9": [
    *_best("dinov2_vitl14", 81.1, "83.2 83.3 83.6 83.6"),
    *_best("clip_vitl14", 76.0, "79.2 79.4 79.6 79.9"),
    Expected("clip_vitl14, zero-shot", 75.3, None),
  ],
  "table10": [
    Expected(
      "embeddings of ImageNet's train, GiB",
      4.9,
      ("storage_bytes", "embeddings, float32"),
      unit="GiB",
      scale=2.0**-30,
    ),
    Expected(
      "removal of a row from the store, ms (upper bound)",
      20,
      ("edits", "store", "remove a row and add it again", "median_s"),
      unit="ms",
      scale=1000.0,
    ),
  ],
  "figure1": [
    Expected("a row of the class among 100 (about)", 98, ("hit_rate", 99))
  ],
  "figure3": [
    Expected(
      "accuracy with one image of each class",
      59,
      ("growth", "plurality", "points", 0, "published"),
    )
  ],
  "figure4": [
    Expected(
      "genus of a species without exemplars",
      35.2,
      ("discovery", "accuracy", 0, -2),
    )
  ],
  "appendix_j": [
    Expected("linear probe, DINOv2 ViT-L/14", 86.3, ("best_probe",))
  ],
  "appendix_l": [
    Expected(
      "predictions guessed without neighbors",
      56,
      ("analysis", "without", "fraction"),
    ),
    Expected(
      "predictions guessed with neighbors",
      83,
      ("analysis", "with_neighbors", "fraction"),
    ),
  ],
  "appendix_n": [
    Expected(
      "model's label preferred (by a memory that is not public)",
      39.3,
      ("analysis", "chosen", "fraction"),
    ),
    Expected(
      "accuracy once the preferred ones count",
      76.4,
      ("analysis", "corrected_accuracy"),
    ),
  ],
}
"""By the name of the module in configs/paper."""


def look_up(report: dict, path: tuple[str | int, ...]) -> float | None:
  """The value at a path of a report; None where it is not there."""
  value = report
  for place, key in enumerate(path):
    try:
      if key == BEST:
        found = [look_up(each, path[place + 1 :]) for each in value.values()]
        return max((each for each in found if each is not None), default=None)
      value = value[key]
    except (AttributeError, KeyError, IndexError, TypeError):
      return None
  if isinstance(value, dict):  # Of an interval, the estimate.
    value = value.get("mean")
  return value if isinstance(value, (int, float)) else None
