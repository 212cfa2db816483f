"""Dual memory networks: text or a visual memory, and what two memories add."""

from jax.sharding import Mesh

from visual_memory.dual_memory import protocol
from visual_memory.reports.sections import dual_memory as sections
from visual_memory.reports.workdir import Clock, Workdir
from visual_memory.studies import dual_memory as parts
from visual_memory.studies import finishing
from visual_memory.studies.dual_memory import Settings


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Every variant at every number of shots, for every seed."""
  clock = Clock(workdir)
  env = workdir.write_env(mesh=mesh)
  data = parts.Data(config, mesh, clock, workdir)
  with clock("text"):
    text = data.text_classifier()
  found = {}
  for variant in config.adaptation.variants:
    table = found.setdefault(variant, {})
    for shots in config.num_shots:
      if variant == "few_shot" and not shots:
        continue
      with clock(f"{variant}, {shots} shots"):
        table[shots] = [
          _shot_test(config, data, text, variant, shots, seed, mesh)
          for seed in config.seeds
        ]
      workdir.log(variant=variant, **sections.values({shots: table[shots]}))
  if workdir.lead:
    _report(config, workdir, data, found, clock, env)


def _shot_test(config, data, text, variant, num_shots, seed, mesh):
  """One set of shots, one order of the stream."""
  asked, trained = data.asked(seed), variant == "few_shot"
  shots = data.shots(seed, num_shots) if num_shots else None
  return protocol.shot_test(
    data.guesser(text),
    shots,
    asked,
    text=text,
    num_classes=len(data.class_names),
    settings=parts.settings(config.adaptation),
    candidates=parts.candidates(config.adaptation),
    held_out=data.held_out(seed),
    fit=parts.fit(config, data, text, seed, mesh) if trained else None,
    mesh=mesh,
  )


def _report(config, workdir, data, found, clock, env):
  """Writes report.json and the page."""
  base = config.adaptation.base
  shown = [
    sections.section(
      variant.replace("_", " ").capitalize(), table,
      base=parts.BASES[base], chosen_on=parts.CHOOSERS[base],
    )
    for variant, table in found.items()
    if table
  ]  # fmt: skip
  for variant, table in found.items() if config.published else ():
    expected = {
      name: value
      for name, value in config.published.items()
      if name.startswith((variant, "text", "zero_shot"))
    }
    encoder = config.published_encoder
    shown.append(sections.published(expected, table, encoder=encoder))
  finishing.finish_run(
    workdir, config, shown,
    {
      "accuracy": sections.accuracy(found),
      "variants": {name: sections.values(table) for name, table in
                   found.items()},
      "class_names": data.class_names,
    },
    timings=clock.seconds, counts=data.counts, skipped=data.skipped,
    fingerprint=data.fingerprint, env=env,
  )  # fmt: skip
  for variant, table in found.items():
    for shots, row in sections.values(table).items():
      means = ", ".join(f"{k} {v:.1%}" for k, v in row["mean"].items())
      print(f"{variant:>14} {shots:>3} shots  {means}")
