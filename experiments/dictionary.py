"""Learns the encoder `procedural_patches` and writes its two files."""

from experiments import dictionary_stages, stages
from visual_memory import distributed
from visual_memory.encoders.encoder import load_encoder
from visual_memory.reports import page
from visual_memory.reports.sections.pretraining import encoder_file


def main(config, workdir, mesh) -> None:
  """Renders pictures, learns, writes NAME.npz, NAME.json and report.json."""
  clock = stages.Clock(workdir)
  env = workdir.write_env(mesh=mesh)
  if workdir.lead:
    with clock("render"):
      pictures = dictionary_stages.open_pictures(config, workdir.path / "pool")
    with clock("learn"):
      path = dictionary_stages.learn(
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
