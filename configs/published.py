"""The numbers that the papers print, beside the paths of ours.

  VISUAL_MEMORY["table4"][0]   # Expected("plurality, k = 10", 83.2, path)

By the names of `configs/paper.py` and `configs/paper_procedural.py`; those of
dual memory networks by the data sets of `configs/dual_memory.py`. Each has a
name, the published value (percent, unless its unit says otherwise) and where
ours stands in the run's report.json: keys one below the other, list positions
as numbers, BEST for the largest of all keys. A value that no run of ours
computes has no path.

Sources: Geirhos et al., "Towards flexible perception with visual memory";
Rodriguez-Munoz et al., "Separating knowledge and perception with procedural
data", both ICML 2025, as printed; Zhang et al., "Dual memory networks", CVPR
2024, as in its released logs. The second one's accuracies are the best k on the
split that it scores; ours at `as_published` are those, on the same split.
"""

import dataclasses

BEST = "*"
"""In a path: the largest of what follows, over all keys."""

VOTERS = ("plurality", "distance", "softmax", "rank")


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
  path: tuple[str | int, ...] | None = None
  unit: str = "%"
  scale: float = 100.0


def _row(values: str, names, what: str, path=None) -> list[Expected]:
  """A row of a table; `{}` in what and path is the column's name."""
  return [
    Expected(
      what.format(name),
      float(value),
      path and tuple(str(key).format(name) for key in path),
    )
    for name, value in zip(names, values.split(), strict=True)
    if value != "-"
  ]


def _voters_by_k(encoder: str, *rows: str) -> list[Expected]:
  """Tables 4 to 8: a row of ten values for each voter."""
  ks = range(10, 101, 10)
  return [
    expected
    for voter, row in zip(VOTERS, rows, strict=True)
    for expected in _row(
      row, ks, voter + ", k = {}",
      ("encoders", encoder, "accuracy", voter, "{}"),
    )
  ]  # fmt: skip


def _best(encoder: str, none: float, values: str) -> list[Expected]:
  """Table 9: no aggregation, then the best k of each voter."""
  at = ("encoders", encoder)
  return [
    Expected(f"{encoder}, nearest neighbor", none,
             (*at, "accuracy", "plurality", "1")),
    *_row(values, VOTERS, encoder + ", {}, best k on the test queries",
          (*at, "as_published", "{}", "accuracy")),
  ]  # fmt: skip


def _lifelong(place: int, what: str, none: float, values: str):
  """A row of table 1: the nearest row, then every voter."""
  return [
    Expected(f"{what}, nearest neighbor", none, ("lifelong", place, "nearest")),
    *(
      dataclasses.replace(
        one, path=("lifelong", place, "as_published", voter, "accuracy")
      )
      for voter, one in zip(
        VOTERS, _row(values, VOTERS, what + ", {}"), strict=True
      )
    ),
  ]


def _other_sets(row: str, values: str, *, ours: bool = False):
  """A row of table 2; the paper does not say by which voter."""
  names = ("A", "R", "Sketch", "V2", "ReaL")
  place = ("protocols", 0, "as_published", BEST, "accuracy")
  return [
    dataclasses.replace(one, path=("sets", name.lower(), *place))
    if ours
    else one
    for name, one in zip(names, _row(values, names, "{}, " + row), strict=True)
  ]


def _stored(encoder: str, rows: float, queries: float) -> list[Expected]:
  """A column of table 10: ImageNet's train split and its validation split."""
  at = ("encoders", encoder, "storage_bytes", "embeddings, float32")
  return [
    Expected(f"{encoder}, rows of train", rows, at, "GiB", 2.0**-30),
    Expected(f"{encoder}, rows of val", queries, unit="MB"),
  ]  # fmt: skip


def _law(encoder: str, exponent: float, factor: float) -> list[Expected]:
  """Figure 3's fit: error in percent = 10^factor (log10 N)^exponent."""
  at = ("encoders", encoder, "growth", "plurality", "laws", "log")
  plain = dict(unit="", scale=1.0)
  return [
    Expected(f"exponent of the law (by a memory that is not public), {encoder}",
             exponent, (*at, "exponent"), **plain),
    Expected(f"log10 of its factor, {encoder}", factor,
             (*at, "log10_factor"), **plain),
  ]  # fmt: skip


VISUAL_MEMORY: dict[str, list[Expected]] = {
  "table1": [
    *_lifelong(0, "ImageNet before", 81.1, "83.2 83.3 83.6 83.6"),
    *_lifelong(1, "ImageNet after", 81.1, "83.2 83.3 83.5 83.6"),
    *_lifelong(2, "NINCO after", 86.4, "86.9 87.1 87.5 87.4"),
  ],
  "table2": [
    *_other_sets("ImageNet", "58.8 62.8 61.5 75.6 87.1", ours=True),
    *_other_sets("ImageNet, Gemini", "68.4 72.3 72.5 81.7 89.9"),
    *_other_sets("JFT", "61.1 73.7 68.0 77.6 88.2"),
    *_other_sets("JFT, Gemini", "69.6 81.4 75.0 82.3 90.5"),
    *_other_sets("linear probe", "71.3 74.4 59.3 78.0 89.5"),
  ],
  "table3": [
    *(
      one
      for kind, values in (
        ("none", "83.2 83.3 83.6 83.6"),
        ("hard", "83.3 83.4 83.6 83.7"),
        ("soft", "83.6 83.6 83.9 84.1"),
      )
      for one in _row(values, VOTERS, kind + " pruning, {}",
                      ("as_published", kind, "{}", "accuracy"))
    ),
    Expected("rows removed by hard pruning", 26_257,
             ("as_published_rows_removed", "hard"), unit="rows", scale=1.0),
  ],
  "table4": _voters_by_k(
    "dinov2_vitl14",
    "83.2 82.9 82.6 82.4 82.1 82.0 81.8 81.6 81.5 81.4",
    "83.3 83.0 82.7 82.4 82.2 82.1 81.9 81.7 81.6 81.5",
    "83.5 83.5 83.4 83.3 83.2 83.1 83.1 83.0 82.9 82.9",
    "83.5 83.6 83.6 83.5 83.5 83.4 83.3 83.3 83.3 83.3",
  ),
  "table5": _voters_by_k(
    "dinov2_vitb14",
    "81.8 81.4 81.1 80.9 80.7 80.4 80.2 80.0 79.8 79.6",
    "81.9 81.5 81.2 81.0 80.8 80.5 80.3 80.0 79.9 79.7",
    "82.0 82.0 81.9 81.8 81.7 81.7 81.6 81.5 81.3 81.3",
    "82.1 82.2 82.1 82.0 82.0 82.0 81.9 81.9 81.9 81.9",
  ),
  "table6": _voters_by_k(
    "dinov2_vits14",
    "78.6 78.2 77.8 77.4 77.1 76.8 76.5 76.3 76.1 75.9",
    "78.8 78.4 77.9 77.5 77.2 76.9 76.6 76.4 76.2 76.0",
    "78.9 78.9 78.7 78.6 78.5 78.3 78.1 78.0 77.9 77.7",
    "78.9 79.1 79.0 78.9 78.9 78.9 78.9 78.8 78.8 78.8",
  ),
  "table7": _voters_by_k(
    "clip_vitl14",
    "79.0 78.7 78.3 78.0 77.8 77.6 77.4 77.4 77.2 77.0",
    "79.2 78.9 78.5 78.2 78.0 77.8 77.6 77.5 77.3 77.1",
    "79.3 79.3 79.1 78.9 78.8 78.7 78.5 78.5 78.4 78.2",
    "79.3 79.6 79.7 79.7 79.7 79.7 79.7 79.7 79.7 79.7",
  ),
  "table8": _voters_by_k(
    "clip_vitb16",
    "72.8 72.6 72.3 72.0 71.7 71.4 71.2 70.9 70.8 70.5",
    "73.1 72.9 72.6 72.3 71.9 71.6 71.4 71.1 70.9 70.6",
    "73.3 73.3 73.1 72.9 72.7 72.5 72.3 72.1 71.9 71.7",
    "73.0 73.7 73.8 73.8 73.8 73.8 73.7 73.7 73.7 73.7",
  ),
  "table9": [
    *_best("dinov2_vitl14", 81.1, "83.2 83.3 83.6 83.6"),
    *_best("clip_vitl14", 76.0, "79.2 79.4 79.6 79.9"),
    Expected("dinov2_vitl14, as its authors quote it", 83.5),
    Expected("clip_vitl14, zero-shot", 75.3),
  ],
  "table10": [
    *_stored("dinov2_vitl14", 4.9, 197),
    *_stored("dinov2_vitb14", 3.7, 148),
    *_stored("dinov2_vits14", 1.9, 75),
    *_stored("clip_vitl14", 3.7, 148),
    *_stored("clip_vitb16", 2.5, 100),
    Expected("the images of train", 154.6, ("storage_bytes",
             "images as they came"), unit="GiB", scale=2.0**-30),
    Expected("removal of a row from the store, ms (upper bound)", 20,
             ("edits", "store", "remove a row and add it again", "median_s"),
             unit="ms", scale=1000.0),
  ],
  "figure1": [
    Expected("a row of the class among 100 (about)", 98, ("hit_rate", 99)),
  ],
  "figure3": [
    Expected("accuracy with one image of each class", 59,
             ("growth", "plurality", "points", 0, "published")),
    *_law("dinov2_vitl14", -0.9434, 2.0704),
    *_law("dinov2_vits14", -1.0942, 2.3187),
    *(
      Expected(f"rows for the error of ViT-S/14 with all (about), {name}", rows,
               ("rows_for_the_same_error", "plurality", "rows", name),
               unit="rows", scale=1.0)
      for name, rows in (("dinov2_vits14", 1_281_167),
                         ("dinov2_vitb14", 150_000), ("dinov2_vitl14", 70_000))
    ),
  ],
  "figure4": [
    Expected("genus of a species without exemplars", 35.2,
             ("discovery", "accuracy", 0, -2)),
  ],
  "section_2_2": [
    Expected("by Gemini 1.5 Flash, with 50 neighbors", 88.5,
             ("rerank", "with_reranking")),
  ],
  "section_2_2_alone": [
    Expected("by Gemini 1.5 Flash, with the query alone", 69.6,
             ("rerank", "alone")),
  ],
  "appendix_j": [
    Expected("linear probe, DINOv2 ViT-L/14", 86.3, ("best_probe",)),
  ],
  "appendix_l": [
    Expected("predictions guessed without neighbors", 56,
             ("analysis", "without", "fraction")),
    Expected("predictions guessed with neighbors", 83,
             ("analysis", "with_neighbors", "fraction")),
  ],
  "appendix_n": [
    Expected("model's label preferred (by a memory that is not public)", 39.3,
             ("analysis", "chosen", "fraction")),
    Expected("accuracy once the preferred ones count", 76.4,
             ("analysis", "corrected_accuracy")),
  ],
}  # fmt: skip

MODELS = (
  "imagenet", "places", "kml_mixup", "kml", "shaders_mixup", "shaders",
  "stylegan", "random",
)  # fmt: skip
"""The encoders of the procedural-data paper, by what they were trained on."""

_TABLE1 = {
  "flowers102_val": "83.43 59.51 75.20 71.86 73.33 66.18 41.86 11.18",
  "cub200": "55.20 19.09 27.08 24.02 19.85 15.59 8.61 1.93",
  "food101": "64.45 47.78 48.70 46.00 47.78 38.05 22.73 5.32",
  "imagenet": "68.89 47.30 37.88 35.38 35.45 30.69 13.73 1.84",
  # Table 3; the paper scores validation splits.
  "pathmnist_val": "98.34 98.21 98.60 99.30 98.88 98.96 98.05 73.05",
  "dermamnist_val": "82.05 80.96 81.36 82.15 81.56 81.26 77.67 67.50",
  "octmnist_val": "95.11 94.52 92.85 92.12 89.14 92.09 85.04 66.39",
  "pneumoniamnist_val": "95.23 96.18 96.56 96.56 96.56 95.61 95.04 84.54",
  "breastmnist_val": "91.03 91.03 93.59 91.03 92.31 92.31 87.18 83.33",
  "bloodmnist_val": "96.79 95.85 95.09 96.26 96.73 97.72 91.59 85.51",
  "tissuemnist_val": "57.00 54.83 55.62 58.02 53.27 58.74 53.10 44.27",
  "organamnist_val": "94.33 90.09 83.76 85.07 81.96 86.83 76.81 75.07",
  "organcmnist_val": "93.81 92.56 81.48 85.37 82.53 86.04 77.30 68.94",
  "organsmnist_val": "85.89 82.26 74.43 81.57 74.10 81.69 76.06 60.93",
}

PROCEDURAL: dict[str, list[Expected]] = {
  **{
    f"table1:{name}": _row(
      values, MODELS, "{}",
      ("encoders", "{}", "as_published", "softmax", "accuracy"),
    )
    for name, values in _TABLE1.items()
  },
  "table2": [
    *_row("63.7 62.1 53.7 55.9 51.4 55.0 48.5 36.7", MODELS, "{}",
          ("encoders", "{}", "pca_r2_as_published")),
    Expected("RGB", 19.4, ("rgb_picture", "pca_r2_as_published")),
  ],
  "table5": [
    *_row("73.6 59.6 - 47.1 44.8 43.1 26.4 -", MODELS, "linear probe, {}",
          ("encoders", "{}", "best_probe")),
    Expected("linear probe, kml_mixup", 47.3, ("best_probe",)),
  ],
  "figure5": _row(
    "87.33 83.31 81.05 82.44 81.10 81.69 76.05 -", MODELS, "{}",
    ("agreement", "{}", "accuracy"),
  ),
  "figure14": [
    *_row("0.609 0.695 - 0.545 0.522 0.511 0.315 0.047", MODELS,
          "rows whose removal corrects an answer, {}",
          ("encoders", "{}", "privacy", 0, "harmful_fraction")),
    Expected("rows whose removal corrects an answer, kml_mixup", 0.561,
             ("privacy", 0, "harmful_fraction")),
  ],
  "sift": [Expected("support vector machine", 3.08, ("svm_as_published",))],
}  # fmt: skip

DUAL_MEMORY_NAMES = (
  "text", "zero_shot",
  *(f"{kind}_{shots}" for kind in ("training_free", "few_shot")
    for shots in (1, 2, 4, 8, 16)),
)  # fmt: skip
"""Text alone, DMN-ZS, DMN-TF and DMN by shots; zero-shot only elsewhere."""

DUAL_MEMORY: dict[str, dict[str, float]] = {
  name: dict(zip(DUAL_MEMORY_NAMES, map(float, row), strict=False))
  for name, *row in map(str.split, """\
imagenet 69.932 72.242 72.352 72.416 72.554 72.880 73.282 \
  72.872 73.278 74.024 74.664 75.738
flowers102 73.041 74.787 84.531 91.108 94.397 96.427 96.793 \
  89.241 92.245 96.224 97.361 98.214
dtd 53.191 54.610 57.092 59.929 62.884 67.139 69.385 \
  62.057 65.071 68.381 71.277 75.236
pets 90.324 91.878 91.932 91.960 91.905 92.069 92.641 \
  92.150 92.832 92.832 93.350 93.922
cars 66.173 67.765 68.797 70.688 73.374 76.732 78.398 \
  72.590 74.705 78.970 82.179 85.586
ucf101 70.473 72.429 73.645 76.527 78.430 81.813 82.765 \
  79.170 81.919 84.774 85.937 87.840
caltech101 94.077 95.091 95.132 95.497 95.862 95.984 96.146 \
  95.335 95.700 96.430 96.917 97.079
food101 84.436 85.059 85.059 85.099 85.201 85.340 85.690 \
  84.983 84.997 85.366 86.129 87.050
sun397 68.111 69.995 70.257 70.882 71.738 73.557 75.350 \
  72.035 73.078 74.710 76.443 78.297
aircraft 27.213 29.853 30.723 32.343 36.964 41.074 44.614 \
  33.393 35.434 39.094 44.374 51.185
eurosat 55.728 57.370 61.173 67.778 76.716 80.543 81.704 \
  73.469 75.716 78.988 83.136 87.642
imagenet_a 50.853 58.280
imagenet_v2 63.640 65.270
imagenet_r 77.363 78.547
imagenet_sketch 49.341 52.980
""".splitlines())
}  # fmt: skip
"""ViT-B/16, top-1, fused by weights that were searched on the test labels."""
