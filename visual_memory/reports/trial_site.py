"""The trial pages of a human study: a static site of one page, and its key.

  write_site(workdir, design, class_names=names, title="What will it say?",
             query_image=..., neighbor_images=...)

  workdir/site/index.html      to hand out, or to put on any web server
  workdir/key.json             to keep: which answer is the model's

The page asks for a participant's number, shows that participant's trials in
their order, keeps the answers in the browser (so that one can go on later)
and saves them as JSON or CSV for `analysis.responses`. It holds no answers,
sends nothing and loads nothing. `index.html?participant=7` fills the number in.
"""

import os
import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from visual_memory import files
from visual_memory.analysis.human_study.trials import Design
from visual_memory.reports import gallery, rendering

_SIDE = 320
"""Pixels of the longer side of large images."""

_TEXTS = {
  "prediction": (
    "What will the computer say that this is?",
    "The images below are the most similar ones that the computer knows."
    " What will it say that the large image is?",
    (
      "A computer has named the object in each of the following images. It is"
      " often wrong. Guess what it said, not what you see.",
      "With some images you are also shown similar ones, from which the"
      " computer made its guess.",
    ),
  ),
  "preference": (
    "Which of these names fits the image better?",
    "",
    (
      "You will see one image after the other, each with several names for"
      " it. Choose the one that fits best.",
    ),
  ),
}


def write_site(
  workdir: str | os.PathLike,
  design: Design,
  *,
  class_names: Sequence[str],
  title: str,
  query_image: Callable[[int], np.ndarray],
  neighbor_images: Callable[[int], Sequence[np.ndarray]],
) -> None:
  """Writes site/index.html and key.json into the workdir.

  Raises:
    ValueError: as for `render_trials`.
    ImportError: jinja2 is absent; names the extra.
  """
  text = render_trials(
    design,
    class_names=class_names,
    title=title,
    query_image=query_image,
    neighbor_images=neighbor_images,
  )
  folder = pathlib.Path(workdir)
  (folder / "site").mkdir(parents=True, exist_ok=True)
  files.write_json(
    folder / "key.json", {**design.key(), "class_names": list(class_names)}
  )
  files.write_text(folder / "site" / "index.html", text)


def render_trials(
  design: Design,
  *,
  class_names: Sequence[str],
  title: str,
  query_image: Callable[[int], np.ndarray],
  neighbor_images: Callable[[int], Sequence[np.ndarray]],
) -> str:
  """The page as text.

  Args:
    design: the trials.
    class_names: what the choices are called.
    title: one line.
    query_image: from a query's position to its uint8 [H, W, 3].
    neighbor_images: from a query's position to the images of its neighbors,
      best first, for trials of condition B.

  Raises:
    ValueError: two classes of one name, which nobody could tell apart.
    ImportError: jinja2 is absent; names the extra.
  """
  names = list(class_names)
  for trial in design.trials:
    offered = [names[choice] for choice in trial.choices] + list(design.extras)
    if len(set(offered)) < len(offered):
      raise ValueError(
        f"Two choices of trial {trial.name} have the same name ({offered}):"
        " give the classes names of their own."
      )
  question, with_neighbors, instructions = _TEXTS[design.kind]
  pictures = []

  def picture(image) -> int:
    pictures.append(gallery.data_uri(image, side=_SIDE))
    return len(pictures) - 1

  any_shown = bool(design.with_neighbors.any())
  content = {
    "study": design.study,
    "question": question,
    "questionWithNeighbors": with_neighbors,
    "extras": list(design.extras),
    "trials": [
      {
        "name": trial.name,
        "picture": picture(query_image(trial.query)),
        "neighbors": [picture(image) for image in neighbor_images(trial.query)]
        if any_shown
        else [],
        "choices": [names[choice] for choice in trial.choices],
      }
      for trial in design.trials
    ],
    "orders": design.orders.tolist(),
    "conditions": design.key()["conditions"],
    "pictures": [uri for uri, _ in pictures],
    "tiny": [int(tiny) for _, tiny in pictures],
  }
  return rendering.render_page(
    "trials",
    content,
    title=title,
    instructions=instructions[: 1 + any_shown],
  )
