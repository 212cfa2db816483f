"""A voter of one's own: named in a call, in a config, kept to its contract."""

import json
import re

import numpy as np
import pytest
from memory_cases import unit

from configs import aggregation, attribution, evaluate
from experiments import launch
from visual_memory.cli import main as cli
from visual_memory.collection import questions, sureness
from visual_memory.store.store import Store
from visual_memory.types import Neighbors, embedded_set
from visual_memory.voting import weighting
from visual_memory.voting.removal import predict_without_each
from visual_memory.voting.vote import predict, vote

MODULE = """
import jax.numpy as jnp
import numpy as np

def by_rank(similarities):
  return jnp.broadcast_to(1 / (2.0 + jnp.arange(similarities.shape[1])),
                          similarities.shape)

def squared(similarities):
  return jnp.maximum(similarities, 0) ** 2

def negative(similarities):
  return similarities

def too_few(similarities):
  return similarities[:, 0] ** 2

def by_numpy(similarities):
  return np.asarray(similarities) ** 2

number = 3
"""


@pytest.fixture(autouse=True)
def module(tmp_path_factory, monkeypatch):
  """A module of voters that can be imported."""
  folder = tmp_path_factory.mktemp("voters")
  (folder / "my_voters.py").write_text(MODULE)
  monkeypatch.syspath_prepend(folder)


@pytest.fixture
def near():
  rng = np.random.default_rng(0)
  indices = rng.permuted(
    np.tile(np.arange(40, dtype=np.int32), (50, 1)), axis=1
  )
  return Neighbors(
    ids=indices.astype(str).astype(object),
    indices=indices,
    labels=rng.integers(-1, 5, indices.shape).astype(np.int32),
    similarities=-np.sort(-rng.uniform(-1, 1, indices.shape), axis=1).astype(
      np.float32
    ),
  )


def test_it_votes_as_its_weights_say(near):
  ks = (1, 3, 40)
  own = vote(near, voter="my_voters:squared", ks=ks, num_classes=5)
  by_function = vote(
    near,
    voter=lambda near: np.maximum(near.similarities.astype(float), 0) ** 2,
    ks=ks,
    num_classes=5,
  )
  np.testing.assert_array_equal(own.predictions, by_function.predictions)
  np.testing.assert_array_equal(own.class_scores, by_function.class_scores)
  named, ours = predict(
    near,
    [weighting.setting(name) for name in ("rank", "my_voters:by_rank")],
    ks=ks,
    num_classes=5,
  )
  np.testing.assert_array_equal(ours, named)


def test_what_if_a_row_were_gone_is_asked_of_it_too(near):
  named, ours = (
    predict_without_each(near, weighting.setting(name), k=20, num_classes=5)
    for name in ("rank", "my_voters:by_rank")
  )
  np.testing.assert_array_equal(ours, named)


@pytest.mark.parametrize(
  "voter, message",
  [
    ("squared", "Unknown voter 'squared'; the voters are plurality, .*module:"),
    ("no_module:squared", "There is no voter .*No module named"),
    ("my_voters:cubed", "There is no voter .*cubed"),
    ("my_voters:negative", "must be a weight for each, finite and not neg"),
    ("my_voters:too_few", "must be a weight for each"),
    ("my_voters:by_numpy", "by jax.numpy operations"),
    ("my_voters:number", "cannot weigh similarities"),
  ],
)
def test_what_breaks_the_contract_is_refused_before_work(
  near, voter, message, tmp_path
):
  with pytest.raises(ValueError, match=message):
    vote(near, voter=voter, num_classes=5)
  config = evaluate.get_config("smoke")
  config.voting.voters = (voter,)
  with pytest.raises(ValueError, match=message):
    launch.run(config, tmp_path / "run")
  assert not (tmp_path / "run").exists()
  with pytest.raises(ValueError, match="has no hyper-parameter 'offset'"):
    vote(near, voter="my_voters:squared", offset=1.0, num_classes=5)


@pytest.mark.parametrize("of", [evaluate, aggregation, attribution])
def test_a_config_names_it(tmp_path, of):
  config = of.get_config("smoke")
  config.voting.voters = ("my_voters:squared", "my_voters:by_rank")
  launch.run(config, tmp_path)
  report = json.loads((tmp_path / "report.json").read_text())
  assert report["config"]["voting"]["voters"][0] == "my_voters:squared"
  if of is evaluate:
    accuracy = report["accuracy"]
    assert set(accuracy) == set(config.voting.voters)
    config.voting.voters = ("rank",)
    launch.run(config, tmp_path / "named")
    named = json.loads((tmp_path / "named" / "report.json").read_text())
    assert accuracy["my_voters:by_rank"] == named["accuracy"]["rank"]
  page = (tmp_path / "report.html").read_text()
  assert "my_voters:squared" in page or of is attribution
  assert not re.search(r"undefined|NaN %", page)


def test_a_text_names_a_voter_and_its_numbers():
  named = weighting.named
  assert named("rank") == weighting.setting("rank")
  assert named("softmax,temperature=0.1") == weighting.setting(
    "softmax", temperature=0.1
  )
  assert named("my_voters:squared").voter == "my_voters:squared"
  for text, message in (
    ("softmax,temperature", "no NAME=NUMBER"),
    ("softmax,offset=2", "no hyper-parameter 'offset'"),
    ("rank,offset=0", "above 0"),
    ("nobody", "Unknown voter"),
  ):
    with pytest.raises(ValueError, match=message):
      named(text)


def test_the_command_line_takes_every_voter(tmp_path, capsys):
  rng = np.random.default_rng(0)
  rows = embedded_set(
    unit(rng.normal(size=(12, 4))), rng.integers(0, 2, 12),
    [f"r{i}" for i in range(12)], class_names=("a", "b"), fingerprint="f",
  )  # fmt: skip
  path = str(tmp_path / "store")
  store = Store.create(path, rows)

  def accuracy(voter):
    words = ["accuracy", "-s", path, "--json", "-k", "5", "--voter", voter]
    assert cli.main(words) == 0
    return json.loads(capsys.readouterr().out)

  for voter in (*weighting.VOTERS, "rank,offset=3", "my_voters:squared"):
    found = questions.accuracy(store, k=5, voter=voter)
    assert accuracy(voter)["right"] == found["right"], voter
    assert found["voter"] == voter.partition(",")[0]
    assert questions.suspects(store, k=5, voter=voter) is not None
  before = set(tmp_path.rglob("*"))
  memory, own = store.load(), weighting.setting("my_voters:squared")
  sureness.calibrate(store, memory, own, k=5)  # Made anew: it may change.
  assert set(tmp_path.rglob("*")) == before
  with pytest.raises(SystemExit):
    cli.main(["accuracy", "-s", path, "--voter", "my_voters:missing"])
  assert "There is no voter" in capsys.readouterr().err


def test_a_request_to_the_server_imports_nothing():
  from visual_memory.server import guard

  assert guard.vote_of({"voter": "rank"})["setting"].voter == "rank"
  with pytest.raises(ValueError, match="no voter 'my_voters:squared'"):
    guard.vote_of({"voter": "my_voters:squared"})
