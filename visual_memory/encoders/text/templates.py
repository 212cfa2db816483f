"""Sentences around a class name, for zero-shot classification with CLIP.

  templates("imagenet_7")                       # seven sentences with one {}
  fill("a photo of a {}.", "polar_bear")        # "a photo of a polar bear."

The lists are published facts (see `TEMPLATES`); the order within a list has no
meaning, since an ensemble is a mean.
"""

from collections.abc import Iterator

_LOOKS = (
  "",
  "bad ",
  "black and white ",
  "blurry ",
  "bright ",
  "close-up ",
  "cropped ",
  "dark ",
  "good ",
  "jpeg corrupted ",
  "low resolution ",
  "pixelated ",
)
_MANNERS = (
  "clean",
  "cool",
  "dirty",
  "hard to see",
  "large",
  "nice",
  "small",
  "weird",
)
_PICTURES = (
  "a doodle",
  "a drawing",
  "a painting",
  "a rendering",
  "a rendition",
  "a sculpture",
  "a sketch",
  "a tattoo",
  "art",
  "graffiti",
  "itap",  # "I took a picture", as photographers tag it.
)
_MATERIALS = ("cartoon", "embroidered", "origami", "plastic", "plushie", "toy")


def _imagenet_80() -> Iterator[str]:
  """CLIP's ImageNet ensemble: 38 sentences with "a" and "the", and four."""
  for article in ("a", "the"):
    yield from (f"a {look}photo of {article} {{}}." for look in _LOOKS)
    yield from (f"a photo of {article} {manner} {{}}." for manner in _MANNERS)
    yield from (f"{picture} of {article} {{}}." for picture in _PICTURES)
    yield from (f"{article} {material} {{}}." for material in _MATERIALS)
    yield f"{article} {{}} in a video game."
  yield from (f"a photo of {word} {{}}." for word in ("many", "my", "one"))
  yield "itap of my {}."


_IMAGENET_7 = (
  "a bad photo of the {}.",
  "a origami {}.",
  "a photo of the large {}.",
  "a photo of the small {}.",
  "a {} in a video game.",
  "art of the {}.",
  "itap of a {}.",
)

TEMPLATES: dict[str, tuple[str, ...]] = {
  "photo": ("a photo of a {}.",),
  "imagenet_80": tuple(_imagenet_80()),
  "imagenet_7": _IMAGENET_7,
  "aircraft": ("a photo of a {}, a type of aircraft.",),
  "caltech101": _IMAGENET_7,
  "cars": ("a photo of a {}, a type of car.",),
  "dtd": ("{} texture.",),
  "eurosat": ("a centered satellite photo of {}.",),
  "flowers102": ("a photo of a {}, a type of flower.",),
  "food101": ("a photo of {}, a type of food.",),
  "pets": ("a photo of a {}, a type of pet.",),
  "sun397": _IMAGENET_7,
  "ucf101": ("a photo of a person doing {}.",),
}
"""Templates by name. ImageNet's 80, and the 7 of them that were selected one
after the other: OpenAI CLIP, notebooks/Prompt_Engineering_for_ImageNet.ipynb.
The others are those of Dual Memory Networks (Zhang et al., CVPR 2024;
data/imagnet_prompts.py), which follow Tip-Adapter."""


def templates(name: str) -> tuple[str, ...]:
  """The templates of this name.

  Raises:
    ValueError: there is no such name; lists those there are.
  """
  if name not in TEMPLATES:
    raise ValueError(
      f"No templates are called {name!r}. There are: {', '.join(TEMPLATES)}."
    )
  return TEMPLATES[name]


def fill(template: str, class_name: str) -> str:
  """The template with the class name in the place of its one {}.

  Underscores in class names become spaces, as in all CLIP prompts.

  Raises:
    ValueError: the template has no {}, or more than one.
  """
  if template.count("{}") != 1:
    raise ValueError(
      f"Template {template!r} has {template.count('{}')} places for a class"
      ' name; it needs exactly one, written {}: "a photo of a {}."'
    )
  return template.replace("{}", class_name.replace("_", " "))
