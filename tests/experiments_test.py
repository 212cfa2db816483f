"""Every config's smoke form runs, and shows itself on one page."""

import contextlib
import importlib
import json
import pathlib

import headless
import processes
import pytest

from experiments import launch
from experiments.benchmarks import peers
from visual_memory.retrieval import planner

ROOT = pathlib.Path(__file__).resolve().parents[1]
CONFIGS = sorted(
  path.relative_to(ROOT).with_suffix("")
  for path in (ROOT / "configs").rglob("*.py")
  if path.name not in ("__init__.py", "published.py")
)


def get_config(name, arg="smoke"):
  module = importlib.import_module(f"configs.{name}")
  return module.get_config(arg)


def read(path):
  return json.loads(pathlib.Path(path).read_text())


OWN_DEVICES = ("benchmark_rendering", "plan")
"""What says how many devices there are, in a process of its own."""
MOST_PIXELS = 3000  # Of a page, from top to bottom, at 1280 across.
NAMES = [
  # A browser is driven for a while.
  pytest.param(name, marks=[pytest.mark.slow] * (name == "benchmark_page"))
  for name in (".".join(path.parts[1:]) for path in CONFIGS)
]


@pytest.fixture(scope="module")
def reports():
  """The pages of this module's runs; at its end each is measured."""
  paths = []
  yield paths
  with contextlib.suppress(pytest.skip.Exception), headless.chromium() as used:
    page = used.new_page(viewport={"width": 1280, "height": 900})
    heights = {}
    for path in filter(pathlib.Path.exists, paths):
      page.goto(path.as_uri())
      height = page.evaluate("document.documentElement.scrollHeight")
      heights[read(path.with_suffix(".json"))["title"]] = height
    tall = {title: h for title, h in heights.items() if h > MOST_PIXELS}
    assert not tall, f"these pages are too tall: {tall}"


@pytest.mark.parametrize("name", NAMES)
def test_every_smoke_form_runs(name, tmp_path, reports, monkeypatch, capsys):
  config = get_config(name)
  if "experiment" not in config:
    monkeypatch.chdir(ROOT)  # Where its own processes look for modules.
    monkeypatch.setattr(peers, "PAUSE_S", 0.0)  # Nothing is timed in earnest.
    _run_script(name, config.lock(), tmp_path / "run")
    said = capsys.readouterr().out
    assert said.strip()
    if name == "plan":
      assert all(f"\n{hardware} " in said for hardware in planner.HARDWARE)
      assert "s program, compiled for 4 simulated devices" in said
    return
  launch.run(config, tmp_path / "run")
  report = read(tmp_path / "run" / "report.json")
  assert (tmp_path / "run" / "DONE").exists()
  assert "<html" in (tmp_path / "run" / "report.html").read_text()
  reports.append(tmp_path / "run" / "report.html")
  for values in report.get("accuracy", {}).values():
    assert all(0 <= value <= 1 for value in values.values())
  for interval in _with_key(report, "low"):
    assert {"mean", "low", "high", "coverage"} <= set(interval)
  stored = ROOT / "tests" / "golden" / f"report_{name}.json"
  if stored.exists():
    assert _comparable(report) == read(stored)


def _with_key(value, key):
  """Every mapping inside a value that has this key."""
  if isinstance(value, list):
    value = dict(enumerate(value))
  if isinstance(value, dict):
    if key in value:
      yield value
    for item in value.values():
      yield from _with_key(item, key)


def _comparable(report):
  """A report without what depends on the machine, or on rounding's ties."""
  kept = {
    key: value
    for key, value in report.items()
    # The config says what was asked, the rest what was found.
    if key
    not in ("config", "findings", "figures", "timings", "neighbors_fingerprint")
  }
  kept["counts"] = {
    name: count
    for name, count in report["counts"].items()
    if name != "peak_memory_mib"
  }
  kept["edits"] = [
    {key: value for key, value in edit.items() if key != "seconds"}
    for edit in report["edits"]
  ]
  return kept


def _run_script(name, config, workdir):
  """A benchmark or a tool has a script of its own."""
  if name == "benchmark_encoders":
    for peer in ("torch", "transformers"):
      pytest.importorskip(peer, reason="its peers are theirs")
  script = f"experiments.{name.replace('benchmark_', 'benchmarks.')}"
  if name not in OWN_DEVICES:
    importlib.import_module(script).main(config, workdir)
    return
  done = processes.python(
    "-m", script, f"--config=configs/{name}.py:smoke", f"--workdir={workdir}"
  )
  assert done.returncode == 0, done.stderr[-2000:]
  print(done.stdout)


def test_a_config_has_no_other_form():
  for path in CONFIGS:
    with pytest.raises(ValueError, match="smoke"):
      get_config(".".join(path.parts[1:]), "smok")
