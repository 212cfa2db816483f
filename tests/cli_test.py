"""The visual-memory command, as a user calls it."""

import json
import os
import shutil

import numpy as np
import processes
import pytest
from PIL import Image

from visual_memory.cli import main as cli
from visual_memory.collection import exchange, rebuild
from visual_memory.encoders import encoder as encoder_lib
from visual_memory.store.store import Store

SMALL = ("--encoder", "pixels", "--option", "size=8")


def paint(path, shade, seed):
  """An image file of noise around a gray."""
  noise = np.random.default_rng(seed).integers(0, 60, (9, 11, 3))
  ramp = np.linspace(0, 150, 11)[None, :, None] * shade
  image = np.clip(noise + 90 + ramp, 0, 255).astype(np.uint8)
  os.makedirs(os.path.dirname(path), exist_ok=True)
  Image.fromarray(image).save(path)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
  """A folder with photos of two classes, a broken one, and their memory."""
  folder = tmp_path_factory.mktemp("user")
  for shade, name in ((-1, "ant"), (1, "bee")):
    for i in range(6):
      paint(str(folder / f"photos/{name}/{i}.png"), shade, seed=i)
  (folder / "photos/ant/broken.jpg").write_bytes(b"\xff\xd8 not a jpeg")
  paint(str(folder / "new.png"), 1, seed=99)
  arguments = ["build", str(folder / "photos"), *SMALL]
  assert cli.main([*arguments, "--store", str(folder / "memory")]) == 0
  return folder


@pytest.fixture
def user(built, tmp_path, monkeypatch):
  """A copy of that, to work in."""
  shutil.copytree(built, tmp_path / "user")
  # The photos stay where they were: origins are absolute paths.
  shutil.rmtree(tmp_path / "user/photos")
  monkeypatch.chdir(tmp_path / "user")
  return built


def run(capsys, *words, code=0):
  """What a command prints on standard output, and on standard error."""
  capsys.readouterr()
  assert cli.main(list(words)) == code
  done = capsys.readouterr()
  return done.out, done.err


def run_json(capsys, *words, code=0):
  return json.loads(run(capsys, *words, "--json", code=code)[0])


def test_a_memory_is_built_and_asked(user, capsys):
  found = run_json(capsys, "info")
  assert found["classes"] == {"ant": 6, "bee": 6} and not found["unfinished"]
  assert found["encoder"]["size"] == 8 and found["dimension"] == 8 * 8 * 3
  text, _ = run(capsys, "classify", "new.png", "-k", "3")
  assert text.split()[:2] == ["new.png", "bee"]
  answer = run_json(capsys, "classify", "new.png")[0]
  assert answer["prediction"] == "bee" and len(answer["neighbors"]) == 10
  assert sum(answer["votes"].values()) == pytest.approx(1)
  assert {near["class"] for near in answer["neighbors"][:6]} == {"bee"}


def test_unreadable_images_are_said_and_the_others_answered(user, capsys):
  open("text.jpg", "w").write("no image")
  words = ("classify", "text.jpg", "new.png", "absent.png")
  text, problems = run(capsys, *words, code=1)
  assert text.startswith("new.png  bee") and text.count("\n") == 1
  assert "text.jpg" in problems and "absent.png" in problems


@pytest.mark.parametrize(
  "words",
  [
    ("classify", "absent.png", "none*.png", "empty/"),
    ("similar", "absent.png"),
    ("explain", "absent.png"),
    ("add", "absent.png", "absent/"),
    ("build", "absent/", "--store", "other"),
  ],
)
def test_what_is_not_there_is_said_before_anything_is_loaded(
  user, capsys, monkeypatch, words
):
  def load(*_, **__):
    raise AssertionError("An encoder was loaded for nothing.")

  os.mkdir("empty")
  monkeypatch.setattr(encoder_lib, "load_encoder", load)
  _, said = run(capsys, *words, code=1)
  assert "absent" in said


def test_building_again_goes_on_or_refuses(user, capsys, monkeypatch):
  photos = str(user / "photos")
  _, says = run(capsys, "build", photos, *SMALL, code=1)
  assert "already" in says
  add, calls = Store.add, []

  def stopped(self, *arguments, **options):
    add(self, *arguments, **options)
    calls.append(1)
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(Store, "add", stopped)
    words = ("build", photos, *SMALL, "--store", "other")
    _, says = run(capsys, *words, code=130)
    assert calls and "goes on" in says
  _, says = run(capsys, "info", "--store", "other")
  assert "not built to its end" in says
  done = run_json(capsys, *words)
  assert (done["added"], done["already_there"], done["rows"]) == (0, 12, 12)
  assert [image["id"] for image in done["skipped"]] == ["ant/broken.jpg"]
  np.testing.assert_array_equal(
    Store.open("other").embedded().embeddings,
    Store.open("memory").embedded().embeddings,
  )


def test_images_are_added_by_folder_and_one_by_one(user, capsys):
  done = run_json(capsys, "add", str(user / "photos"))
  assert (done["added"], done["already_there"]) == (0, 12)
  _, says = run(capsys, "add", "new.png", code=1)
  assert "--class" in says
  words = ("add", "new.png", "--class", "eel")
  done = run_json(capsys, *words, "--metadata", '{"license": "CC0"}')
  assert done["added"] == 1 and done["classes"] == 3
  store = Store.open("memory")
  assert store.metadata(["new.png"])[0]["license"] == "CC0"
  answer = run_json(capsys, "classify", "new.png", "-k", "1")[0]
  assert answer["prediction"] == "eel"
  text, _ = run(capsys, "info", "--ids")
  assert "new.png\teel" in text


def test_nothing_is_removed_when_its_receipt_cannot_be_written(user, capsys):
  os.mkdir("folder")
  for file in ("folder", "nowhere/receipt.json"):
    _, says = run(capsys, "remove", "ant/3.png", "--receipt", file, code=1)
    assert file in says
  assert len(Store.open("memory")) == 12
  assert not Store.open("memory").receipts()


def test_removing_leaves_a_receipt_and_nothing_else(user, capsys):
  _, says = run(capsys, "remove", "3.png", code=1)
  assert "Did you mean 'ant/3.png'" in says
  listed, _ = run(capsys, "remove", "--class", "bee", "--dry-run")
  assert listed.split() == [f"bee/{i}.png" for i in range(6)]
  run(capsys, "remove", "ant/3.png", "--receipt", "receipt.json")
  receipt = json.load(open("receipt.json"))
  store = Store.open("memory")
  assert len(store) == 11
  assert receipt["generation"] == store.contents.generation
  held = b"".join(
    open(os.path.join(folder, name), "rb").read()
    for folder, _, names in os.walk("memory")
    for name in names
  )
  assert b"ant/3.png" not in held and b"ant/4.png" in held
  assert run_json(capsys, "remove", "--class", "bee", "--yes")["rows"] == 5
  assert run_json(capsys, "verify")["num_receipts"] == 2
  assert "Say which" in run(capsys, "remove", code=1)[1]
  assert "not both" in run(capsys, "remove", "a", "--class", "b", code=1)[1]


def test_relabelling_makes_classes(user, capsys):
  run(capsys, "relabel", "ant/0.png", "ant/1.png", "--to", "wasp")
  run(capsys, "relabel", "--class", "bee", "--to", "wasp")
  assert run_json(capsys, "info")["classes"] == {"ant": 4, "bee": 0, "wasp": 8}


def test_whitening_is_weighed_then_chosen_and_survives_a_rebuild(user, capsys):
  found = run_json(capsys, "whiten")
  assert [f["ridge"] for f in found] == [None, 0.25, 1.0, 4.0]
  assert [f["used"] for f in found] == [True, False, False, False]
  assert {f["rows"] for f in found} == {12}
  assert run_json(capsys, "whiten", "2", "--dry-run") == {"ridge": 2.0}
  assert Store.open("memory").load().whitening is None
  assert "whitened, 2 now" in run(capsys, "whiten", "2")[0]
  assert Store.open("memory").load().whitening.ridge == 2
  assert run_json(capsys, "classify", "new.png")[0]["prediction"] == "bee"
  run(capsys, "rebuild", "--encoder", "pixels", "--yes")
  assert Store.open("memory").load().whitening.ridge == 2
  run(capsys, "whiten", "0", code=1)
  run(capsys, "whiten", "1", "--off", code=1)
  run(capsys, "whiten", "--off")
  assert Store.open("memory").load().whitening is None


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_a_memory_goes_through_a_file(user, capsys, suffix):
  if suffix == "parquet":
    pytest.importorskip("pyarrow")
  run(capsys, "relabel", "ant/0.png", "--to", "wasp")
  run(capsys, "export", f"rows.{suffix}")
  run(capsys, "import", f"rows.{suffix}", "--store", "copy")
  ours, theirs = Store.open("memory"), Store.open("copy")
  one, other = ours.embedded(), theirs.embedded()
  np.testing.assert_array_equal(one.embeddings, other.embeddings)
  assert list(one.ids) == list(other.ids)
  assert list(one.labels) == list(other.labels)
  assert one.class_names == other.class_names
  assert ours.metadata(one.ids) == theirs.metadata(one.ids)
  run(capsys, "classify", "new.png", "--store", "copy")  # Knows its encoder.
  with pytest.raises(ValueError, match="npz or .parquet"):
    exchange.read_rows("rows.csv")


def test_the_explanation_stands_alone(user, capsys):
  words = ("explain", "new.png", "--no-open", "--output", "why.html")
  found = run_json(capsys, *words, "-k", "4")
  page = open(found["page"]).read()
  assert "bee/" in page and page.count("data:image/") == 5
  assert "http" not in page.replace("http-equiv", "")
  shutil.move(user / "photos", user / "moved")
  try:
    _, says = run(capsys, *words)
    assert "no longer there" in says
    assert "no image" in open("why.html").read()
  finally:
    shutil.move(user / "moved", user / "photos")


def test_rebuilding_keeps_all_but_the_embeddings(user, capsys, monkeypatch):
  run(capsys, "remove", "ant/2.png")
  run(capsys, "relabel", "ant/0.png", "--to", "wasp")
  old = Store.open("memory")
  before, receipts = old.embedded(), old.receipts()
  words = ("rebuild", "--encoder", "pixels", "--option", "size=4")
  switch, meanwhile = rebuild._catch_up, []

  def edited(*arguments, **options):
    missing = switch(*arguments, **options)
    if not meanwhile:  # Somebody removes an image before the switch.
      meanwhile.append(old.remove(["bee/5.png"]))
      beside = Store.open("memory" + rebuild.REBUILD)
      assert "bee/5.png" not in beside.ids
    return missing

  monkeypatch.setattr(rebuild, "_catch_up", edited)
  run(capsys, *words)
  new = Store.open("memory")
  after = new.embedded()
  kept = before.ids != "bee/5.png"
  assert list(after.ids) == list(before.ids[kept])
  assert list(after.labels) == list(before.labels[kept])
  assert after.class_names == before.class_names
  assert after.embeddings.shape[1] == 4 * 4 * 3
  assert new.receipts() == [*receipts, *meanwhile]
  assert new.verify().num_rows == 10
  assert not os.path.exists("memory" + rebuild.REBUILD)
  assert run_json(capsys, "classify", "new.png")[0]["prediction"] == "bee"
  old.relabel(["bee/0.png"], ["ant"])  # An old handle goes on with the new.
  assert new.class_names[new.labels[list(new.ids).index("bee/0.png")]] == "ant"


def test_a_rebuild_without_all_images_changes_nothing(user, capsys):
  run(capsys, "add", "new.png", "--class", "bee")
  os.rename("new.png", "gone.png")
  words = ("rebuild", "--encoder", "pixels", "--option", "size=4")
  _, says = run(capsys, *words, code=1)
  assert "new.png" in says and "--drop-missing" in says
  assert run_json(capsys, "info")["dimension"] == 192
  done = run_json(capsys, *words, "--drop-missing")
  assert done["rows"] == 12 and done["skipped"][0]["id"] == "new.png"


def test_whoever_waits_for_the_lock_of_a_replaced_store_gets_the_new(user):
  old = Store.open("memory")
  shutil.copytree("memory", "second")
  rebuild.exchange(os.path.abspath("second"), os.path.abspath("memory"))
  old.remove(["ant/0.png"])
  assert len(Store.open("memory")) == 11 and len(Store.open("second")) == 12


def test_damage_is_named(user, capsys):
  with open("memory/embeddings/c.0.0", "r+b") as file:
    file.write(b"\xff\xff")
  _, says = run(capsys, "verify", code=1)
  assert "embeddings/c.0.0" in says and "row 0" in says
  assert "row 0" in run_json(capsys, "verify", code=1)["problems"][0]


@pytest.mark.parametrize(
  "words, says",
  [
    (["info", "-s", "nowhere"], "visual-memory build"),
    (["build", "nowhere"], "nowhere"),
    (["build", ".", "--class", "a", "-s", "new", "-e", "pixel"], "pixels"),
    (["remove", "--where", "person"], "KEY=VALUE"),
    (["classify", "new.png", "-k", "0"], "at least one"),
    (["export", "rows.txt"], ".parquet"),
    (["relabel", "x", "--to", "bee"], "not in the memory"),
  ],
)
def test_mistakes_get_one_sentence(user, capsys, words, says):
  _, error = run(capsys, *words, code=1)
  assert says in error and "Traceback" not in error


@pytest.mark.parametrize("words", [[], ["frob"], ["classify"], ["info", "-x"]])
def test_wrong_usage_ends_with_two(words, capsys):
  for more in ([], ["--json"]):
    with pytest.raises(SystemExit) as caught:
      cli.main([*words, *more])
    assert caught.value.code == 2
    says, usage = capsys.readouterr()
    assert "usage: visual-memory" in usage
    if more:
      assert json.loads(says)["error"] in usage
    else:
      assert not says


def test_a_store_without_provenance_is_explained(user, capsys):
  store = Store.open("memory")
  Store.create("bare", store.embedded())
  _, says = run(capsys, "classify", "new.png", "-s", "bare", code=1)
  assert "which encoder" in says
  _, says = run(capsys, "rebuild", *SMALL, "-s", "bare", code=1)
  assert "which encoder" in says


def test_as_a_process(user):
  store = os.path.abspath("memory")
  done = processes.python("-m", "visual_memory.cli", "info", "-s", store)
  assert done.returncode == 0, done.stderr
  assert "12 images of 2 classes" in done.stdout and not done.stderr


@pytest.mark.parametrize(
  "words, says",
  [
    (["relabel", "x", "--to", ""], "--to: '' is no name"),
    (["relabel", "x", "--to", "\udcff"], "is no name"),
    (["add", "more", "--class", " "], "--class: ' ' is no name"),
    (["add", "more", "--metadata", "[1]"], "no JSON object"),
    (["add", "more", "--metadata", "{"], "no JSON object"),
    (["classify", "x", "--min-similarity", "nan"], "is no number"),
  ],
)
def test_values_that_are_none_are_refused(capsys, words, says):
  with pytest.raises(SystemExit) as caught:
    cli.main(words)
  assert caught.value.code == 2 and says in capsys.readouterr().err
