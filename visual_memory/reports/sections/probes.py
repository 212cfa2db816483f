"""Linear probes beside the votes of the same rows."""

from collections.abc import Mapping, Sequence

from visual_memory.analysis.choosing import Scored
from visual_memory.analysis.intervals import Difference
from visual_memory.probes.linear_probe import Probe
from visual_memory.probes.logistic_regression import Fitted
from visual_memory.reports import plots, tables
from visual_memory.reports.page import Figure, Section
from visual_memory.reports.tables import Table


def name(probe: Probe) -> str:
  """A probe in words."""
  return f"{probe.inputs}, learning rate {probe.learning_rate:g}"


def compared(
  scored: Mapping[str, Scored], gain: Mapping[str, Difference]
) -> Section:
  """The vote and the probes on the test queries."""
  return Section(
    title="Trained or remembered",
    finding=_finding(scored, gain),
    prose=(
      "Everything is chosen on tuning rows of the memory and scored once on the"
      " test queries, with 95 % bootstrap intervals; differences are of the"
      " same queries. The vote has nothing trained, and takes edits at once.",
    ),
    tables=(
      Table(
        header=("", "test accuracy (%)", "over the vote (points)", "p"),
        rows=tuple(
          (
            method,
            tables.interval(value.accuracy, digits=2),
            tables.change(gain[method].interval) if place else "",
            tables.p_value(gain[method].p_value) if place else "",
          )
          for place, (method, value) in enumerate(scored.items())
        ),
        name="probes",
      ),
    ),
  )


def grid(probes: Sequence[Probe], on_tune: Sequence[float]) -> Section:
  """All probes of the grid, on the tuning rows."""
  lines = {}
  for probe, value in zip(probes, on_tune, strict=True):
    lines.setdefault(probe.inputs, {})[probe.learning_rate] = 100 * value
  return Section(
    title=f"The grid of {len(probes)} probes",
    figures=(
      Figure.of(
        plots.curves,
        lines,
        name="probe_grid",
        caption="SGD, all probes trained at once on the same batches.",
        x_label="learning rate, for a batch of 256",
        y_label="accuracy on tuning rows (%)",
        x_log=True,
      ),
    ),
  )


def strengths(scores: Mapping[float, float], fitted: Fitted) -> Section:
  """The search for the strength of L-BFGS."""
  return Section(
    title="L-BFGS",
    prose=(
      f"The last fit, of all rows, took {fitted.steps} steps; the largest"
      f" entry of its gradient is then {fitted.gradient:.1e}.",
    ),
    figures=(
      Figure.of(
        plots.curves,
        {"accuracy": {c: 100 * value for c, value in scores.items()}},
        name="probe_strength",
        x_label="inverse strength of the penalty",
        y_label="accuracy on tuning rows (%)",
        x_log=True,
      ),
    ),
  )


def _finding(scored, gain) -> str:
  """The vote, and what each probe adds to it."""
  vote, *others = scored
  told = (
    f"the {name} differs by {tables.change(gain[name].interval)} points"
    f" ({tables.p_words(gain[name].p_value)})"
    for name in others
  )
  right = f"The {vote} is right for {tables.share(scored[vote].accuracy)}"
  return "; ".join([right, *told]) + "."
