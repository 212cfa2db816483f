"""Turns a pretraining run into an encoder file, and loads it to be sure."""

import ml_collections

from configs import pretrain as pretrain_config
from experiments import pretrain_stages
from visual_memory import distributed, files
from visual_memory.encoders.encoder import load_encoder
from visual_memory.pretraining import export, step
from visual_memory.pretraining.train import restore_state
from visual_memory.procedural.programs import GRAMMAR_VERSION
from visual_memory.reports import page
from visual_memory.reports.sections.pretraining import encoder_file


def main(config, workdir, mesh) -> None:
  """Writes NAME.npz, NAME.json and report.json into the workdir."""
  env = workdir.write_env(mesh=mesh)
  if not config.run and config.kind != "untrained":
    raise ValueError("Name the workdir of a pretraining: --config.run=DIR.")
  run = pretrain_config.get_config("smoke")
  if config.run:
    found = files.read_json(f"{config.run}/config.json")
    run = ml_collections.ConfigDict(found)
  recipe = pretrain_stages.make_recipe(run)
  if config.kind == "untrained":
    state, log = step.init_state(recipe, mesh), []
  else:
    state = restore_state(
      recipe, f"{config.run}/run", kind=config.kind, mesh=mesh
    )
    if state is None:
      raise ValueError(
        f"{config.run} has no {config.kind} checkpoint yet (kinds: best, last)."
      )
    log = pretrain_stages.read_log(config.run)
  steps = int(state["step"])
  training = {
    "data": run.data.to_dict(),
    "grammar_version": GRAMMAR_VERSION,
    "steps": steps,
    "pictures_seen": steps * recipe.batch_size,
    "scores": [line for line in log if "score" in line],
    "log": [line for line in log if "loss" in line][:: max(1, len(log) // 50)],
    "commit": env["commit"],
    "reproduce": (
      "python -m experiments.launch --config=configs/pretrain.py"
      " --workdir=DIR, with the values of `recipe` and `data`; then"
      " configs/export.py."
    ),
    "continue": (
      "The same command in the same workdir goes on from its last checkpoint."
    ),
  }
  if workdir.lead:
    path = export.export_backbone(
      recipe,
      state["teacher"]["backbone"],
      workdir.path / config.name,
      training=training,
    )
    encoder = load_encoder("procedural", weights=path)
    report = {
      "path": str(path),
      "num_bytes": path.stat().st_size,
      "dim": encoder.dim,
      "fingerprint": encoder.fingerprint,
      "steps": steps,
    }
    page.write_page(
      workdir.path,
      page.Page(
        title=f"The encoder {config.name}",
        sections=(encoder_file(report),),
        config=config.to_dict(),
        env=env,
      ),
      report,
    )
    print(f"{path}: {report['num_bytes']:,} bytes, {encoder.fingerprint}")
  distributed.barrier("export")
