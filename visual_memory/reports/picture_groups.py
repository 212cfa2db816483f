"""Groups of small pictures on one page that needs nothing else.

write("twins.html", title="Duplicates",
      groups=[("0.9981", [("cat/1.jpg", "cat", pixels)])])
"""

import os
from collections.abc import Sequence

import numpy as np

from visual_memory import files
from visual_memory.reports import explanation

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
  environment = explanation.environment()
  page = environment.from_string(_PAGE).render(
    title=title,
    css=explanation.template("report.css"),
    groups=[
      (caption, [
        (i, name, None if image is None else explanation.shrunk(image, _SIDE))
        for i, name, image in members
      ])
      for caption, members in groups
    ],
  )  # fmt: skip
  files.write_text(path, page)
