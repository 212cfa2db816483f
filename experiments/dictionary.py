"""Learns the encoder `procedural_patches` and writes its two files."""

import jax
import numpy as np

from experiments import stages
from visual_memory import distributed
from visual_memory.encoders.encoder import load_encoder
from visual_memory.pretraining import dictionary, pools
from visual_memory.procedural.programs import GRAMMAR_VERSION
from visual_memory.reports import page
from visual_memory.reports.sections.pretraining import encoder_file


def main(config, workdir, mesh) -> None:
  """Renders pictures, learns, writes NAME.npz, NAME.json and report.json."""
  clock = stages.Clock(workdir)
  env = workdir.write_env(mesh=mesh)
  if workdir.lead:
    pictures = config.pictures.to_dict()
    options = pictures.pop("options")
    with clock("render"):
      pools.write_pool(
        workdir.path / "pool", seed=config.seed, **pictures, **options
      )
    settings = dictionary.DictionarySettings(
      size=config.pictures.size, **config.dictionary
    )
    with clock("learn"):
      params = dictionary.learn(
        np.asarray(pools.open_pool(workdir.path / "pool").images),
        settings,
        key=jax.random.key(config.seed),
      )
    path = dictionary.export_dictionary(
      params,
      settings,
      workdir.path / config.name,
      training={
        "grammar_version": GRAMMAR_VERSION,
        "config": config.to_dict(),
        "commit": env["commit"],
        "timings": clock.seconds,
        "reproduce": (
          "python -m experiments.launch --config=configs/dictionary.py"
          " --workdir=DIR, with the values of `config`"
        ),
      },
    )
    encoder = load_encoder("procedural", weights=path)
    report = {
      "path": str(path),
      "num_bytes": path.stat().st_size,
      "dim": encoder.dim,
      "fingerprint": encoder.fingerprint,
    }
    page.write_page(
      workdir.path,
      page.Page(
        title=f"The encoder {config.name}",
        sections=(encoder_file(report),),
        config=config.to_dict(),
        env=env,
        timings=clock.seconds,
      ),
      report,
    )
    print(f"{path}: {report['num_bytes']:,} bytes, {encoder.fingerprint}")
  distributed.barrier("dictionary")
