"""A paper's configs over the data sets of one directory, and their runs."""

import os
import pathlib

from experiments import from_config, launch
from visual_memory.studies import papers
from visual_memory.studies.opening import weights_below


def load_configs(data: str, only: list[str], table) -> dict:
  """A paper's configs by name, over the data sets of one directory.

  Raises:
    ValueError: a name of `only` that there is no config of.
  """
  os.environ["VISUAL_MEMORY_DATA"] = str(data)
  names = only or list(table.VARIANTS)
  configs = {name: table.get_config(name) for name in names}
  for config in configs.values():
    if "root" in config:
      config.root = str(data)
    given = [config.get("encoder"), *config.get("encoders", {}).values()]
    for section in given:
      if section is not None and section.name:
        section.weights = section.weights or weights_below(data, section.name)
    for name, section in list(config.get("encoders", {}).items()):
      if section.weights and not os.path.exists(section.weights):
        del config.encoders[name]  # Its own weights are not there.
  return configs


def weights_needed(configs: dict, table) -> dict[str, list[str]]:
  """The encoders that a form has and its loaded config lacks, by name.

  Their own weights are not there, such as those of StyleGAN's and Places'.
  """
  return {
    name: sorted(
      set(table.get_config(name).get("encoders", {}))
      - set(config.get("encoders", {}))
    )
    for name, config in configs.items()
    if name in table.VARIANTS
  }


def settings_of(configs: dict) -> dict:
  """The settings of each config, by name."""
  return {
    name: from_config.settings(config, launch.load(config).Settings)
    for name, config in configs.items()
  }


def run(
  configs: dict,
  path: str,
  table,
  *,
  published,
  cache: str = "",
  sample: tuple[int, ...] = (),
) -> dict[str, dict]:
  """Runs the configs that can be run, or their stand-ins: see `papers.run`.

  Args:
    configs: by name.
    path: the workdir.
    table: of the paper's configs.
    published: its numbers by the same names.
    cache: where embeddings and neighbors are kept; by default path/cache.
    sample: rows and queries that are drawn of every data set; () for all.
  """
  found = {name: table.stand_in(name) for name in configs}
  stand_ins = {name: own for name, own in found.items() if own is not None}
  if sample:
    for config in (*configs.values(), *stand_ins.values()):
      from_config.draw(config, *sample)
  for config in (*configs.values(), *stand_ins.values()):
    if "cache_dir" in config:
      config.cache_dir = cache or str(pathlib.Path(path) / "cache")
  return papers.run(
    settings_of(configs),
    path,
    published=published,
    needed=weights_needed(configs, table),
    stand_ins=settings_of(stand_ins),
    launch=lambda name, folder, stand_in: launch.run(
      (stand_ins if stand_in else configs)[name], folder
    ),
  )
