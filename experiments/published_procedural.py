"""The numbers that the procedural-data paper prints and that can be compared.

Source: Rodriguez-Munoz et al., "Separating knowledge and perception with
procedural data", ICML 2025, tables 1 to 5 and figure 14, as printed. Its
accuracies are the best k on the split that it scores; ours at `as_published`
are those, on the same split.
"""

from experiments.published import Expected

_MODELS = (
  "imagenet", "places", "kml_mixup", "kml", "shaders_mixup", "shaders",
  "stylegan",
)  # fmt: skip

_TABLE1 = {
  "flowers102_val": "83.43 59.51 75.20 71.86 73.33 66.18 41.86",
  "cub200": "55.20 19.09 27.08 24.02 19.85 15.59 8.61",
  "food101": "64.45 47.78 48.70 46.00 47.78 38.05 22.73",
  "imagenet": "68.89 47.30 37.88 35.38 35.45 30.69 13.73",
  # Table 3; the paper scores validation splits.
  "pathmnist_val": "98.34 98.21 98.60 99.30 98.88 98.96 98.05",
  "dermamnist_val": "82.05 80.96 81.36 82.15 81.56 81.26 77.67",
  "octmnist_val": "95.11 94.52 92.85 92.12 89.14 92.09 85.04",
  "pneumoniamnist_val": "95.23 96.18 96.56 96.56 96.56 95.61 95.04",
  "breastmnist_val": "91.03 91.03 93.59 91.03 92.31 92.31 87.18",
  "bloodmnist_val": "96.79 95.85 95.09 96.26 96.73 97.72 91.59",
  "tissuemnist_val": "57.00 54.83 55.62 58.02 53.27 58.74 53.10",
  "organamnist_val": "94.33 90.09 83.76 85.07 81.96 86.83 76.81",
  "organcmnist_val": "93.81 92.56 81.48 85.37 82.53 86.04 77.30",
  "organsmnist_val": "85.89 82.26 74.43 81.57 74.10 81.69 76.06",
}

_OTHERS = {
  "table2": (
    "63.7 62.1 53.7 55.9 51.4 55.0 48.5",
    ("encoders", "{}", "pca_r2_as_published"),
  ),
  "figure5": (
    "87.33 83.31 81.05 82.44 81.10 81.69 76.05",
    ("agreement", "{}", "accuracy"),
  ),
}


def _by_model(values: str, path: tuple[str, ...]) -> list[Expected]:
  """One value for each model, found at a path with the model's name."""
  return [
    Expected(model, float(value), tuple(key.format(model) for key in path))
    for model, value in zip(_MODELS, values.split(), strict=True)
  ]


EXPECTED: dict[str, list[Expected]] = {
  **{
    f"table1:{name}": _by_model(
      values, ("encoders", "{}", "as_published", "softmax", "accuracy")
    )
    for name, values in _TABLE1.items()
  },
  **{name: _by_model(*given) for name, given in _OTHERS.items()},
  "table5": [Expected("linear probe, KML Mixup", 47.3, ("best_probe",))],
  "figure14": [
    Expected(
      "rows whose removal corrects an answer, KML Mixup",
      0.561,
      ("privacy", "softmax", "20", "harmful_fraction"),
    )
  ],
  "sift": [Expected("support vector machine", 3.08, ("svm_accuracy",))],
}
"""By the name of the module in configs/paper_procedural, and its form."""

EXPECTED["table2"] += [
  Expected(
    "random weights", 36.7, ("encoders", "random", "pca_r2_as_published")
  ),
  Expected("RGB", 19.4, ("rgb_picture", "pca_r2_as_published")),
]
