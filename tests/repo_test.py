"""The repository's own rules: who may import whom, sizes, and what is left."""

import ast
import functools
import json
import pathlib
import re

import processes
import pytest

ROOT = pathlib.Path(__file__).parent.parent
FOLDERS = ("visual_memory", "configs", "experiments", "tests", "third_party")
FILES = sorted(
  path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")
) + sorted(ROOT.glob("*.py"))
PRODUCT = [path for path in FILES if path.relative_to(ROOT).parts[0] != "tests"]

# Every layer may import itself and the layers below it.
LAYERS = (
  ("experiments", "cli"),
  ("server",),  # The command that starts it is the cli's.
  ("studies",),
  ("reports",),
  (
    "analysis",
    "collection",
    "dual_memory",
    "rerank",
    "probes",
    "pretraining",
    "sklearn",
  ),
  ("voting", "retrieval", "store"),
  ("memory",),
  ("encoders",),
  ("data",),
  ("procedural",),
  (
    "types",
    "checks",
    "distributed",
    "launchers",
    "subnormals",
    "checkpoints",
    "progress",
    "showing",
    "files",
    "direct_files",
    "parallel",
    "compilation_cache",
    "when_needed",
    "native",
  ),
)
LEVEL = {name: -level for level, names in enumerate(LAYERS) for name in names}

# Inside encoders: every room or file may import itself and those below it.
ENCODER_LAYERS = (
  ("text", "embedding", "sift", "tokens"),
  ("encoder",),
  ("builders", "listing"),
  ("families",),
  ("parts", "vit", "resnet", "published", "patch_dictionary", "encoder_files"),
  ("settings", "transformer", "patch_grid", "layers", "stem", "outputs"),
)
ENCODER_LEVEL = {
  name: -level for level, names in enumerate(ENCODER_LAYERS) for name in names
}

# Where each heavy package may be imported: folders, or files.
HOMES = {
  "flax": (
    "encoders/",
    "pretraining/",
    "experiments/benchmarks/encoder_peers.py",
  ),
  "optax": ("pretraining/", "dual_memory/", "probes/"),
  "orbax": ("checkpoints.py",),
  "tensorstore": ("store/",),
  "tensorflow_datasets": ("data/",),
  "datasets": ("data/huggingface.py",),
  "grain": ("data/", "pretraining/"),
  "httpx": ("rerank/http_post.py",),
  "scann": ("retrieval/scann.py",),
  "moderngl": ("procedural/glsl.py",),
  "matplotlib": ("reports/",),
  "pillow_heif": ("data/decoding.py",),
  "pyarrow": (
    "collection/row_files.py",
    "experiments/benchmarks/store_peers.py",
  ),
  "transformers": ("experiments/benchmarks/encoder_peers.py",),
  "ml_collections": ("configs/", "experiments/"),
  "absl": ("experiments/",),
  "starlette": ("server/",),
  "uvicorn": ("server/",),
}
FOREIGN = ("torch", "tensorflow", "torchvision", "keras")
PEERS = (
  "experiments/benchmarks/dual_memory.py",
  "experiments/benchmarks/encoder_peers.py",
  "experiments/benchmarks/pretraining_peers.py",
  "experiments/benchmarks/retrieval_peers.py",
)
"""Files that time other libraries, and so import them."""
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
MACHINE_PATHS = re.compile(r"""["'\s=](/(?:ho""" r"""me|root|work|Users)/)""")


def name_of(path):
  return str(path.relative_to(ROOT))


def home_of(path):
  """Where a file stands: its path without the package's folder."""
  return name_of(path).removeprefix("visual_memory/")


@functools.cache
def text_of(path):
  return path.read_text(encoding="utf-8")


@functools.cache
def imports_of(path, *, at_import_only=False):
  """The modules that a file imports, as dotted names."""
  tree = ast.parse(text_of(path))
  found = []
  for node in tree.body if at_import_only else ast.walk(tree):
    if isinstance(node, ast.Import):
      found += [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f"{name_of(path)}: relative import"
      # `from visual_memory import types` imports visual_memory.types.
      found += [f"{node.module}.{alias.name}" for alias in node.names]
  return found


def wrong_imports(paths, is_wrong):
  """What is imported and should not be: (file, module) of each."""
  return [
    (name_of(path), module)
    for path in paths
    for module in imports_of(path)
    if is_wrong(path, module)
  ]


def layer_of(module):
  """The layer of a module of this repository, or None.

  Only experiments is a room outside of the package; sklearn is a package of
  others that has the name of one of ours.
  """
  parts = module.split(".")
  if parts[0] == "visual_memory":
    return parts[1] if len(parts) > 1 and parts[1] in LEVEL else None
  return parts[0] if parts[0] == "experiments" else None


def layer_of_file(path):
  parts = path.relative_to(ROOT).with_suffix("").parts
  if parts[0] == "visual_memory":
    return parts[1] if parts[1] in LEVEL else None
  return parts[0] if parts[0] in LEVEL else None


def wrong_directions(layer, modules):
  """The imports that point upwards, or sideways between layers."""
  for module in modules:
    other = layer_of(module)
    if other is None or other == layer:
      continue
    if LEVEL[other] > LEVEL[layer] or other in ("experiments", "cli"):
      yield module


def test_experiments_are_wiring():
  paths = (ROOT / "experiments").glob("*.py")
  assert not [name_of(p) for p in paths if text_of(p).count("\n") >= 100]


def test_the_command_line_needs_no_study():
  paths = (ROOT / "visual_memory" / "cli").glob("*.py")
  assert not wrong_imports(paths, lambda _, m: layer_of(m) == "studies")


def test_there_are_files():
  assert len(PRODUCT) > 50


def test_every_file_parses_and_is_of_readable_size():
  for path in FILES:
    compile(text_of(path), str(path), "exec")
  # What is longer is to be split.
  assert not [name_of(p) for p in PRODUCT if text_of(p).count("\n") > 350]


def test_every_package_file_has_a_layer():
  outside = {"__init__"}
  for path in (ROOT / "visual_memory").rglob("*.py"):
    first = path.relative_to(ROOT / "visual_memory").with_suffix("").parts[0]
    assert first in LEVEL or first in outside, name_of(path)


def test_imports_point_downwards():
  def is_upwards(path, module):
    layer = layer_of_file(path)
    return layer is not None and list(wrong_directions(layer, [module]))

  assert not wrong_imports(PRODUCT, is_upwards)


def test_imports_inside_encoders_point_downwards():
  folder = ROOT / "visual_memory" / "encoders"

  def is_upwards(path, module):
    room = path.relative_to(folder).with_suffix("").parts[0]
    parts = module.split(".")
    if room == "__init__" or parts[:2] != ["visual_memory", "encoders"]:
      return False
    return ENCODER_LEVEL[parts[2]] > ENCODER_LEVEL[room]

  assert not wrong_imports(folder.rglob("*.py"), is_upwards)


def test_an_import_that_points_upwards_is_found():
  modules = ["visual_memory.voting.vote", "jax", "visual_memory.types"]
  assert list(wrong_directions("memory", modules)) == modules[:1]
  assert list(wrong_directions("reports", modules)) == []
  assert list(wrong_directions("voting", ["experiments.launch"]))


def test_nothing_imports_experiments_configs_or_cli():
  def is_wrong(path, module):
    if name_of(path).startswith(("experiments/", "configs/")):
      return False  # Launchers load configs; a config may build on another.
    if module.split(".")[0] in ("experiments", "configs", "tests"):
      return True
    of_cli = name_of(path).startswith("visual_memory/cli")
    return module.startswith("visual_memory.cli") and not of_cli

  assert not wrong_imports(PRODUCT, is_wrong)


def test_configs_are_data():
  # os: where the data is; dataclasses and types: of tables.
  allowed = {
    "ml_collections", "configs", "os", "dataclasses", "collections", "typing",
  }  # fmt: skip
  paths = (ROOT / "configs").rglob("*.py")
  assert not wrong_imports(paths, lambda _, m: m.split(".")[0] not in allowed)


def test_heavy_packages_stay_in_their_homes():
  def is_wrong(path, module):
    package = module.split(".")[0]
    if package in FOREIGN and name_of(path) not in PEERS:
      return True
    homes = HOMES.get(package)
    return homes is not None and not home_of(path).startswith(homes)

  assert not wrong_imports(PRODUCT, is_wrong)


def test_nothing_is_unfinished_or_of_one_machine():
  assert not [name_of(p) for p in FILES if UNFINISHED.search(text_of(p))]
  # Results record the config of a run, and with it where its data was.
  told = [*(ROOT / "experiments" / "results").glob("*.json")]
  told += [*ROOT.glob("*.md"), *(ROOT / "docs").glob("[!_]*/*.md")]
  told += (ROOT / "docs").glob("*.md")
  assert len(told) > 40
  paths = [*FILES, *told]
  assert not [name_of(p) for p in paths if MACHINE_PATHS.search(text_of(p))]


def test_the_base_install_imports_no_optional_package():
  optional = {
    "scann",
    "moderngl",
    "matplotlib",
    "tensorflow_datasets",
    "grain",
    "sklearn",
    "transformers",
    "tensorboardX",
    "httpx",
    "pyarrow",
  }
  for path in PRODUCT:
    if name_of(path).startswith("visual_memory/"):
      eager = {m.split(".")[0] for m in imports_of(path, at_import_only=True)}
      assert not eager & optional, name_of(path)


def test_no_file_is_called_by_what_everything_is():
  vague = {"utils", "util", "common", "helpers", "base", "misc"}
  assert not [name_of(p) for p in FILES if p.stem in vague]


def test_no_two_modules_share_a_name():
  """A section or a study may be called as the analysis that it tells."""
  free = {"__init__", "__main__"}
  places = {}
  for path in (ROOT / "visual_memory").rglob("*.py"):
    parts = path.relative_to(ROOT / "visual_memory").parts
    if path.stem not in free and not {"sections", "studies"} & set(parts[:-1]):
      places.setdefault(path.stem, []).append(name_of(path))
  assert not [found for found in places.values() if len(found) > 1]


def undefined_names(*arguments, given=None):
  """Names that nothing defines, but for those in strings (shapes)."""
  done = processes.python(
    "-m", "ruff", "check", "--isolated", "--select=F821",
    "--output-format=json", *arguments, input=given,
  )  # fmt: skip
  for found in json.loads(done.stdout):
    place = found["location"]
    text = given or pathlib.Path(found["filename"]).read_text(encoding="utf-8")
    before = text.splitlines()[place["row"] - 1][: place["column"] - 1]
    if before.count('"') % 2 == 0:
      yield f"{found['filename']}:{place['row']}: {found['message']}"


def test_every_name_is_defined():
  """Ruff cannot tell a shape in an annotation from a name: this can."""
  pytest.importorskip("ruff", reason="needs visual_memory[test]")
  assert not list(undefined_names("."))
  bad = 'x: Float[Array, "N"]\ny = no_such_name(1)\n'
  assert len(list(undefined_names("-", given=bad))) == 3  # Float, Array, y's.


PRODUCTS = ("einsum", "matmul", "dot", "tensordot", "vdot", "inner")


def silent_products(source):
  """Lines of products on devices that leave their precision to the hardware."""
  return [
    node.lineno
    for node in ast.walk(ast.parse(source))
    if isinstance(node, ast.Call)
    and isinstance(node.func, ast.Attribute)
    and ast.unparse(node.func.value) == "jnp"
    and node.func.attr in PRODUCTS
    and "precision" not in [keyword.arg for keyword in node.keywords]
  ]


def test_products_say_how_precise_they_are():
  # Float32 products of a GPU have eleven bits where nobody asks for more.
  found = {
    str(path.relative_to(ROOT)): lines
    for path in PRODUCT
    if (lines := silent_products(path.read_text(encoding="utf-8")))
  }
  assert not found


def test_a_product_that_says_nothing_is_found():
  assert silent_products("jnp.dot(x, y)\njnp.dot(x, y, precision=p)") == [1]
