"""Measures how varied families of procedural pictures are, and shows them.

  python -m experiments.procedural_diversity \\
      --config=configs/procedural_diversity.py[:smoke] --workdir=DIR

Writes diversity.json and one contact sheet per family.
"""

import jax
import numpy as np
from absl import logging
from PIL import Image

import visual_memory as vm
from experiments import terminal
from visual_memory import files
from visual_memory.analysis import diversity
from visual_memory.data import preprocess
from visual_memory.procedural import programs, source
from visual_memory.reports import pictures, workdir


def main(config, path) -> None:
  """Draws, embeds and compares every family."""
  path.mkdir(parents=True, exist_ok=True)
  encoders = {name: vm.load_encoder(name) for name in config.encoders}
  families = {}
  for family in (*config.families, *config.photographs):
    logging.info("Family %s", family)
    images = _pictures(family, config.num_images, config.size, config)
    families[family] = diversity.measures(_rows(encoders, images))
    shown = _pictures(
      family,
      config.sheet_rows * config.sheet_columns,
      config.sheet_size if family in config.families else config.size,
      config,
    )
    sheet = pictures.contact_sheet(shown, columns=config.sheet_columns)
    Image.fromarray(sheet).save(path / f"{family}.jpg", quality=88)
  report = {
    "config": config.to_dict(),
    "environment": workdir.environment(),
    "grammar_version": programs.GRAMMAR_VERSION,
    "families": families,
  }
  files.write_json(path / "diversity.json", report)
  print(_table(families))


def _pictures(family: str, num: int, size: int, config) -> np.ndarray:
  """One picture of each of the first programs, or random photographs."""
  if family in config.families:
    images = source.sample_images(
      jax.random.key(config.seed),
      np.arange(num, dtype=np.int32),
      size=size,
      seed=config.seed,
      family=family,
      mesh=vm.make_mesh(),
    )
    return np.asarray(images)
  photographs = vm.open_source(**config.photographs[family].to_dict())
  if num > len(photographs):
    raise ValueError(
      f"{num} pictures are compared and shown, but {family} has"
      f" {len(photographs)}: lower num_images, sheet_rows or sheet_columns."
    )
  chosen = np.random.default_rng(config.seed).choice(
    len(photographs), num, replace=False
  )
  fit = preprocess.square(size)
  return np.stack(
    [fit.resize_and_crop(photographs[int(i)].image) for i in chosen]
  )


def _rows(encoders: dict, images: np.ndarray) -> dict:
  """The images as rows, by edges and by each encoder."""
  return {"edges": diversity.edge_rows(images)} | {
    name: encoder.encode(list(images)) for name, encoder in encoders.items()
  }


def _table(families: dict) -> str:
  """Vendi score and spread of each family, for each encoder."""
  lines = []
  for family, measures in families.items():
    parts = [
      f"{name}: Vendi {value['vendi_score']:.1f}, spread {value['spread']:.3f}"
      for name, value in measures.items()
    ]
    lines.append(f"{family:20} " + "; ".join(parts))
  return "\n".join(lines)


if __name__ == "__main__":
  terminal.run(main)
