"""What a compiled program computes on each device, and what devices send."""

import re

_COLLECTIVE = re.compile(
  r"= (.*?) (all-gather|all-reduce|all-to-all|collective-permute|"
  r"reduce-scatter)(?:-start)?\("
)


def flops_and_sent(lowered):
  """(FLOPs of a device, [(collective, its values' shapes)]) of a program."""
  program = lowered.compile()
  sent = [
    (kind, re.findall(r"\w+\[([\d,]*)\]", shapes))
    for shapes, kind in _COLLECTIVE.findall(program.as_text())
  ]
  return program.cost_analysis()["flops"], sent
