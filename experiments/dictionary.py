"""Learns the encoder `procedural_patches` and writes its two files."""

from jax.sharding import Mesh

from visual_memory import distributed
from visual_memory.reports.workdir import Clock, Workdir
from visual_memory.studies import dictionary as dictionary_lib
from visual_memory.studies.dictionary import Settings
from visual_memory.studies.finishing import write_encoder_page


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Renders pictures, learns, writes NAME.npz, NAME.json and report.json."""
  clock = Clock(workdir)
  env = workdir.write_env(mesh=mesh)
  if workdir.lead:
    with clock("render"):
      pictures = dictionary_lib.open_pictures(config, workdir.path / "pool")
    with clock("learn"):
      path = dictionary_lib.learn(
        config,
        pictures,
        workdir.path / config.name,
        training={
          "commit": env["commit"],
          "timings": {"render": clock.seconds["render"]},
          "reproduce": (
            "python -m experiments.launch --config=configs/dictionary.py"
            " --workdir=DIR, with the values of `config`"
          ),
        },
      )
    write_encoder_page(workdir, config, path, env=env, timings=clock.seconds)
  distributed.barrier("dictionary")
