"""The border from configs to settings, and studies without any config."""

import contextlib
import dataclasses
import importlib
import pathlib
import re

import numpy as np
import processes
import pytest

from configs import aggregation, evaluate, pretrain, rerank
from experiments import from_config, launch, sweep
from visual_memory import files
from visual_memory.reports import workdir
from visual_memory.studies import opening, study
from visual_memory.studies.from_values import from_values
from visual_memory.studies.study_settings import (
  EncoderSettings,
  RetrievalSettings,
  SourceSettings,
  StudySettings,
  VotingSettings,
  as_values,
  replaced,
)

ROOT = pathlib.Path(__file__).resolve().parents[1]
CONFIGS = sorted(
  ".".join(path.relative_to(ROOT).with_suffix("").parts)
  for path in (ROOT / "configs").rglob("*.py")
  if path.name not in ("__init__.py", "published.py")
)


def test_every_config_is_its_settings():
  """Nothing is lost at the border, and nothing is added."""
  seen = 0
  for name in CONFIGS:
    module = importlib.import_module(name)
    for form in (*getattr(module, "VARIANTS", ("",)), "smoke"):
      config = module.get_config(form)
      if "experiment" in config:
        kind = launch.load(config).Settings
        made = as_values(from_config.settings(config, kind))
        assert files.plain(made) == files.plain(config.to_dict()), name
        seen += 1
  assert seen > 100


def test_the_defaults_are_those_of_the_config():
  config = evaluate.get_config()
  made = from_config.settings(config, StudySettings)
  plain = StudySettings(
    experiment="evaluate",
    title=config.title,
    encoder=EncoderSettings(name="pixels"),
    memory=made.memory,
    data=made.data,
  )
  assert made == plain


@pytest.mark.parametrize(
  "key, value, problem",
  [
    (
      "voting.voters",
      ("rank", "majority"),
      "Unknown voter 'majority'; the voters are plurality",
    ),
    ("voting.voters", "rank,softmax,mean", "Unknown voter 'mean'"),
    ("voting.voters", (), "at least one"),
    ("voting.ks", (1, 0), "no k below 1"),
    ("voting.ks", ("ten",), "'ten', which is no int"),
    ("voting.ks", (True,), "True, which is no int"),
    ("voting.temperature", 0.0, "above 0"),
    ("voting.tune_fraction", 1.5, "between 0 and 1"),
    ("retrieval.precision", "float31", "'float31'; it can be: 'auto'"),
    ("retrieval.backend", "faiss", "'faiss'; it can be: 'exact'"),
    ("encoder.precision", "half", "'half'; it can be: 'float32'"),
    ("memory.source", 3, "3, which is no str"),
    ("memory", "digits", "is a section, not 'digits'"),
    ("gallery.right", 1.5, "1.5, which is no int"),
    ("voting.alfa", 1.0, "has no key 'alfa'; it has: voters"),
  ],
)
def test_what_no_run_can_do_is_refused_by_its_key(key, value, problem):
  values = evaluate.get_config("smoke").to_dict()
  *path, last = key.split(".")
  section = values
  for name in path:
    section = section[name]
  section[last] = value
  with pytest.raises(ValueError, match=rf"config.*{path[0] if path else last}.*"
                     rf"{problem}"):  # fmt: skip
    from_values(values, StudySettings)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
  a: int
  b: tuple[tuple[int, int], ...] = ()


def test_missing_keys_and_tuples_of_another_length_are_named():
  with pytest.raises(ValueError, match="config lacks the key 'a'"):
    from_values({}, Wanted)
  with pytest.raises(ValueError, match=r"config.b\[0\] is .*, not 2 values"):
    from_values({"a": 1, "b": [[1, 2, 3]]}, Wanted)


def test_spellings_of_tuples():
  """What command lines give: one value, a list, names with commas."""
  made = from_values({"voters": "rank, softmax", "ks": 5}, VotingSettings)
  assert made.voters == ("rank", "softmax") and made.ks == (5,)
  made = from_values(
    {"voters": ("rank,softmax",), "ks": [1, 5]}, VotingSettings
  )
  assert made.voters == ("rank", "softmax") and made.ks == (1, 5)
  # A class's name may have a comma in it.
  made = from_values(
    {"source": "a", "classes": ("crane, bird",)}, SourceSettings
  )
  assert made.classes == ("crane, bird",)


def test_replacing_below():
  made = StudySettings(voting=VotingSettings(ks=(1,)))
  again = replaced(made, voting__ks=(2,), voting__offset=3.0, title="b")
  assert again.voting.ks == (2,) and again.voting.offset == 3.0
  assert again.title == "b" and made.voting.ks == (1,)
  with pytest.raises(TypeError, match="alfa"):
    replaced(made, voting__alfa=1)


def test_a_study_without_config_or_workdir():
  """As a notebook opens one."""
  settings = StudySettings(
    title="Digits",
    encoder=EncoderSettings(name="pixels", options={"size": 8}),
    memory=SourceSettings(source="digits", options={"split": "train"}),
    data=SourceSettings(source="digits", options={"split": "test"}),
    voting=VotingSettings(voters=("rank",), ks=(1, 10)),
    retrieval=RetrievalSettings(precision="bfloat16"),
  )
  found = study.open_study(settings)
  choice = opening.chosen(settings, found)
  assert choice.name == "rank" and choice.k in (1, 10)
  near = found.near
  assert np.mean(near.labels[:, 0] == found.labels) > 0.97
  with pytest.raises(ValueError, match="needs an encoder and a memory"):
    study.open_study(StudySettings(title="Nothing"))


def test_launching_imports_only_the_experiment_that_runs():

  code = (
    "import sys; from experiments import launch; from configs import privacy;"
    "launch.load(privacy.get_config());"
    "print([m for m in sys.modules if m.startswith('experiments.')])"
  )
  done = processes.python("-c", code)
  assert set(eval(done.stdout)) == {
    "experiments.launch", "experiments.from_config", "experiments.privacy",
    "experiments.terminal",
  }, done.stderr  # fmt: skip


def test_experiments_are_those_that_there_are():
  """Every script with settings is launched; each has a config and a test."""
  scripts = {
    path.stem
    for path in (ROOT / "experiments").glob("*.py")
    if "def main(config: Settings" in path.read_text()
  }
  assert scripts == set(launch.EXPERIMENTS)
  assert list(launch.EXPERIMENTS) == sorted(launch.EXPERIMENTS)
  asked = {
    importlib.import_module(name).get_config("smoke").get("experiment")
    for name in CONFIGS
  }
  assert scripts <= asked


def test_a_config_with_a_script_of_its_own(tmp_path):
  from configs import plan

  with pytest.raises(ValueError, match="a script of its own"):
    launch.run(plan.get_config(), tmp_path / "run")
  assert not (tmp_path / "run").exists()


def digits(**changes):
  """A small config of `evaluate`, with dotted keys changed."""
  config = evaluate.get_config("smoke")
  if "encoder.name" in changes:
    config.encoder.options = {}
  config.update_from_flattened_dict(changes)
  return config


@pytest.mark.parametrize(
  "changes, problem",
  [
    ({"memory.source": "digitz"}, "no data source 'digitz'.*folder"),
    ({"encoder.name": "dino_v9"}, "no encoder 'dino_v9'.*pixels"),
    ({"memory.source": "folder", "memory.options.path": "no.zip"},
     "Nothing was run: there is no no.zip"),
    ({"encoder.name": "procedural", "encoder.weights": "no.npz"},
     "there is no no.npz"),
    ({"neighbors.queries": "no.npz"}, "there is no no.npz"),
    ({"memory.options.dataset": "x"}, "'digits' has no option 'dataset'"),
  ],
)  # fmt: skip
def test_nothing_is_written_for_a_config_that_cannot_run(
  tmp_path, changes, problem
):
  with pytest.raises(ValueError, match=problem):
    launch.run(digits(**changes), tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_every_encoder_of_a_comparison_is_checked_before_the_first(tmp_path):
  config = aggregation.get_config("smoke")
  config.encoders.own.name = "pixels"
  config.encoders.own.options = {"sise": 8}
  with pytest.raises(ValueError, match="'pixels' has no option 'sise'.*size"):
    launch.run(config, tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_neighbor_files_need_neither_images_nor_encoder(tmp_path):
  (tmp_path / "near.npz").write_bytes(b"")
  config = digits(**{"encoder.name": "none", "memory.source": "none"})
  config.neighbors.queries = str(tmp_path / "near.npz")
  assert launch.settings_of(config).neighbors.queries


def test_all_points_of_a_sweep_are_checked_before_the_first(tmp_path):
  axes = ["retrieval.precision=float32,float31"]
  with pytest.raises(ValueError, match="'float31'; it can be: 'auto'"):
    sweep.run(digits(), tmp_path / "sweep", axes)
  assert not (tmp_path / "sweep").exists()


def test_a_corrected_config_takes_the_workdir_of_a_failed_run(tmp_path):
  bad = digits(**{"memory.classes": ("none",)})
  with pytest.raises(ValueError, match="none"):
    launch.run(bad, tmp_path)
  assert (tmp_path / "config.json").exists()
  told = []
  config = digits().to_dict()
  workdir.open_workdir(tmp_path, config, tell=told.append)
  assert "memory.classes" in told[0]
  assert files.read_json(tmp_path / "config.json")["memory"]["classes"] == []
  # Logs alone do not keep it; results do.
  workdir.open_workdir(tmp_path, config).log(step=1)
  workdir.open_workdir(tmp_path, bad.to_dict())
  assert workdir.open_workdir(tmp_path, bad.to_dict()).metrics() == []
  (tmp_path / "report.json").write_text("{}")
  with pytest.raises(ValueError, match="memory.classes.*none"):
    workdir.open_workdir(tmp_path, config)


def test_a_model_is_not_asked_without_its_key(tmp_path, monkeypatch):
  monkeypatch.delenv("GEMINI_API_KEY", raising=False)
  config = rerank.get_config("smoke")
  config.rerank.by, config.rerank.model = "gemini", "any"
  with pytest.raises(ValueError, match="no key in the variable GEMINI_API_KEY"):
    launch.run(config, tmp_path / "run")
  assert not (tmp_path / "run").exists()
  monkeypatch.setenv("GEMINI_API_KEY", "a key")
  assert launch.settings_of(config).rerank.by == "gemini"


def _forms(module):
  """A config in the forms that its docstring names."""
  for form in ("", *re.findall(r"(?:^|[\s/.\w]):([a-z_0-9]+)", module.__doc__)):
    with contextlib.suppress(ValueError):
      yield module.get_config(form)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_form_names_what_there_is(name):
  for config in _forms(importlib.import_module(name)):
    if "experiment" in config:  # Others are benchmarks and tools.
      settings = from_config.settings(
        config.lock(), launch.load(config).Settings
      )
      opening.check_names(settings)


@pytest.mark.parametrize("form", pretrain.MIXTURES)
def test_mixtures_can_be_learned_from(form):
  config = pretrain.get_config(f"smoke,{form}")
  assert config.data.source == "mixed"
  launch.settings_of(config)


@pytest.mark.parametrize(
  "name",
  [
    "class_sequence", "debiasing", "latency", "lifelong", "quickstart",
    "unlearning",
  ],
)  # fmt: skip
def test_what_edits_a_memory_compares_exact_answers_alone(name, tmp_path):
  """Approximate ones before and exact ones after are not the same question."""
  config = importlib.import_module(f"configs.{name}").get_config("smoke")
  config.retrieval.backend = "scann"
  with pytest.raises(ValueError, match="searches exactly: leave out"):
    launch.run(config, tmp_path / "run")
