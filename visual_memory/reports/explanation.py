"""One page about one image, the images that decided it, or groups of images.

  text = render_explanation(
    {"image": "new.jpg", "prediction": "dog", "share": 0.7,
     "votes": {"dog": 0.7, "cat": 0.3},
     "neighbors": [{"id": "dog/3.jpg", "class": "dog", "similarity": 0.93,
                    "weight": 1.0}]},
    picture=pixels, neighbor_pictures=[pixels], about={"memory": "memory"},
  )
  write("twins.html", title="Duplicates",
        groups=[("0.9981", [("cat/1.jpg", "cat", pixels)])])

Everything is inside, and the page forbids itself to load anything else. Needs
jinja2, which the `cli` and `plots` extras bring.
"""

import base64
import importlib.resources
import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from visual_memory import files

_TINY = 64
_LARGE, _SMALL = 480, 256
_MOST_CLASSES = 5
_NEEDS = (
  "The page needs the `jinja2` package: install it with"
  " pip install 'visual_memory[cli]'."
)


def render_explanation(
  answer: Mapping[str, Any],
  *,
  picture: np.ndarray,
  neighbor_pictures: Sequence[np.ndarray | None],
  about: Mapping[str, str],
) -> str:
  """The page as text; the same input gives the same bytes.

  Args:
    answer: image (its name), prediction (a class's name or None), share (of
      all votes, in [0, 1]), votes (the share of each class, the prediction
      first), neighbors (id, class or None, similarity, weight; best first).
    picture: of the image, uint8 [H, W, 3].
    neighbor_pictures: of the neighbors; None where there is none any more.
    about: further facts by name, shown below.

  Raises:
    ImportError: jinja2 is absent; names the extra.
  """
  neighbors = answer["neighbors"]
  largest = max((near["weight"] for near in neighbors), default=0) or 1
  total = sum(n["weight"] for n in neighbors if n["class"] is not None) or 1
  return (
    environment()
    .from_string(template("explanation.html.jinja"))
    .render(
      answer=answer,
      css=template("report.css"),
      picture=shrunk(picture, _LARGE),
      votes=list(answer["votes"].items())[:_MOST_CLASSES],
      num_more=max(0, len(answer["votes"]) - _MOST_CLASSES),
      neighbors=[
        {
          **near,
          "picture": None if pixels is None else shrunk(pixels, _SMALL),
          "length": near["weight"] / largest,
          "share": 0 if near["class"] is None else near["weight"] / total,
        }
        for near, pixels in zip(neighbors, neighbor_pictures, strict=True)
      ],
      num_agree=sum(n["class"] == answer["prediction"] for n in neighbors),
      about=about,
    )
  )


def environment():
  """What fills in the pages' templates, which escapes everything.

  Raises:
    ImportError: jinja2 is absent; names the extra.
  """
  try:
    import jinja2
  except ImportError as error:
    raise ImportError(_NEEDS) from error
  return jinja2.Environment(
    autoescape=True,
    lstrip_blocks=True,
    trim_blocks=True,
    undefined=jinja2.StrictUndefined,
  )


def template(name: str) -> str:
  """The text of a file that is packaged beside this module."""
  folder = importlib.resources.files("visual_memory.reports") / "templates"
  return (folder / name).read_text(encoding="utf-8")


def shrunk(image: np.ndarray, side: int) -> dict[str, Any]:
  """An image as a data URI: shrunk to a side, but exact where it is tiny."""
  picture, buffer = Image.fromarray(image), io.BytesIO()
  tiny = max(picture.size) <= _TINY
  if tiny:
    picture.save(buffer, "PNG", optimize=True)
  else:
    picture.thumbnail((side, side), Image.Resampling.BICUBIC)
    picture.save(buffer, "JPEG", quality=85, optimize=True)
  text = base64.b64encode(buffer.getvalue()).decode("ascii")
  kind = "png" if tiny else "jpeg"
  return {"uri": f"data:image/{kind};base64,{text}", "tiny": tiny}


_SIDE = 160
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ title }}</title>
<style>
{{ css | safe }}
.group { display: flex; flex-wrap: wrap; gap: .75rem; list-style: none; margin: .5rem 0 1.5rem; padding: 0; }
.group li { width: 9.5rem; font-size: .86rem; }
.group img, .blank { aspect-ratio: 1; background: var(--page); border-radius: .4rem; display: block; object-fit: contain; width: 100%; }
.group img.tiny { image-rendering: pixelated; }
.group b { display: block; margin-top: .35rem; }
.group .id { display: block; overflow-wrap: anywhere; user-select: all; }
</style>
</head>
<body>
<main>
<h1>{{ title }}</h1>
{% for caption, members in groups %}
<section>
<h2>{{ caption }}</h2>
<ul class="group">
{% for id, name, image in members %}
<li>
{% if image %}
<img src="{{ image.uri }}" alt="{{ id }}"{% if image.tiny %} class="tiny"{% endif %}>
{% else %}
<span class="blank">no image</span>
{% endif %}
<b>{{ name if name is not none else 'no class' }}</b>
<span class="id">{{ id }}</span>
</li>
{% endfor %}
</ul>
</section>
{% else %}
<p>There are none.</p>
{% endfor %}
</main>
</body>
</html>
"""  # noqa: E501

Member = tuple[str, str | None, np.ndarray | None]
"""An id, a class, and the picture, uint8 [H, W, 3], if it is still there."""


def write(
  path: str | os.PathLike,
  *,
  title: str,
  groups: Sequence[tuple[str, Sequence[Member]]],
) -> None:
  """Writes the page.

  Args:
    path: of the page.
    title: its heading.
    groups: a caption and members for each.

  Raises:
    ImportError: jinja2 is absent; names the extra.
  """
  page = environment().from_string(_PAGE).render(
    title=title,
    css=template("report.css"),
    groups=[
      (caption, [
        (i, name, None if image is None else shrunk(image, _SIDE))
        for i, name, image in members
      ])
      for caption, members in groups
    ],
  )  # fmt: skip
  files.write_text(path, page)
