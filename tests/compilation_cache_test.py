"""Compiled programs are kept, for like machines alone, and never matter."""

import json
import os
import subprocess
import sys

import jax
import pytest

from visual_memory import compilation_cache, when_needed

INTEL = """\
processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 85
model name\t: Intel(R) Xeon(R)
cpu MHz\t\t: 2799.998
flags\t\t: fpu sse avx avx2 avx512f avx512_vnni
bogomips\t: 5599.99
"""

PROGRAM = """
import sys, json, pathlib, collections
from visual_memory import compilation_cache
damages = {
  "garbage": lambda x: b"garbage", "half": lambda x: x[: len(x) // 2],
  "empty": lambda x: b"",
}
for word in sys.argv[1:]:
  if word not in damages:
    compilation_cache._CPU_INFO = pathlib.Path(word)
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from visual_memory import distributed

jax.config.update("jax_num_cpu_devices", 2)
seen = collections.Counter()
jax.monitoring.register_event_listener(
  lambda name, **_: seen.update([name.rsplit("/", 1)[-1]])
)

def answer():
  jax.clear_caches()
  seen.clear()
  mesh = distributed.make_mesh()
  rows = distributed.shard_rows(np.arange(8, dtype=np.float32), mesh)
  spec = PartitionSpec(distributed.DATA)
  total = jax.jit(jax.shard_map(
    lambda x: jax.lax.psum(jnp.cumsum(jnp.sin(x)), distributed.DATA),
    mesh=mesh, in_specs=spec, out_specs=PartitionSpec(),
  ))(rows)
  value = np.asarray(jax.jit(lambda x: jnp.tanh(x) @ x)(np.ones((8, 8))))
  found = np.asarray(total).tobytes() + value.tobytes()
  return [found.hex(), seen["cache_hits"], seen["cache_misses"]]

folder = jax.config.jax_compilation_cache_dir
told = [folder, answer(), answer()]
for damage in (damages[word] for word in sys.argv[1:] if word in damages):
  for path in pathlib.Path(folder).rglob("*-cache"):
    path.write_bytes(damage(path.read_bytes()))
  told.append(answer())
print(json.dumps(told))
"""


def start(*arguments, limit=None, **environ):
  """The program in a process of its own, with no setting of this one."""
  kept = {
    name: value for name, value in os.environ.items()
    if not name.startswith(("JAX_", "XDG_", "VISUAL_MEMORY_"))
  }  # fmt: skip
  code = PROGRAM
  if limit is not None:
    code = (
      f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, {limit!r})\n"
      + code
    )
  return subprocess.Popen(
    [sys.executable, "-c", code, *map(str, arguments)],
    env={**kept, "JAX_PLATFORMS": "cpu", **environ},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def told(process):
  out, problems = process.communicate()
  assert process.returncode == 0, problems
  return json.loads(out.splitlines()[-1])


def test_kept_once_read_by_others_and_never_believed_if_damaged(tmp_path):
  switch = {compilation_cache.SWITCH: str(tmp_path)}
  both = [told(p) for p in [start(**switch), start(**switch)]]  # At once.
  alone = told(start(**{compilation_cache.SWITCH: "off"}))
  assert alone[0] is None and not any(x[1] + x[2] for x in alone[1:])
  folder, first, warm, *damaged = told(
    start("garbage", "half", "empty", **switch)
  )
  assert folder == both[0][0] and folder.startswith(str(tmp_path))
  answers = [first, warm, *damaged, *both[0][1:], *both[1][1:]]
  assert {x[0] for x in answers} == {alone[1][0]}
  assert first[1] == warm[1] >= 2 and not first[2]  # Read by another process.
  assert len(damaged) == 3 and not any(x[1] for x in damaged)


def test_another_processor_reads_none_of_it(tmp_path):
  switch = {compilation_cache.SWITCH: str(tmp_path)}
  other = tmp_path / "cpuinfo"
  other.write_text(INTEL)
  folder, _, warm = told(start(other, **switch))
  assert warm[1]
  here, cold, _ = told(start(**switch))
  assert here != folder and not cold[1]


def test_a_full_disk_changes_nothing(tmp_path):
  process = start(
    limit=(1024, 1024), **{compilation_cache.SWITCH: str(tmp_path)}
  )
  folder, cold, warm = told(process)
  assert folder and cold[0] == warm[0] and not warm[1]


@pytest.fixture
def config():
  """The directory that JAX is set to, as it was afterwards."""
  name = "jax_compilation_cache_dir"
  before = getattr(jax.config, name)
  yield lambda value: jax.config.update(name, value)
  jax.config.update(name, before)


def used(config, monkeypatch, switch):
  config(None)
  monkeypatch.setenv(compilation_cache.SWITCH, str(switch))
  compilation_cache.use()
  return jax.config.jax_compilation_cache_dir


def test_what_a_user_has_set_stays(config, monkeypatch, tmp_path):
  assert used(config, monkeypatch, tmp_path / "ours").startswith(str(tmp_path))
  config(str(tmp_path / "own"))
  compilation_cache.use()
  assert jax.config.jax_compilation_cache_dir == str(tmp_path / "own")
  assert not (tmp_path / "own").exists()


def test_a_folder_that_cannot_be_used_is_not(config, monkeypatch, tmp_path):
  (tmp_path / "file").write_text("no folder")
  assert used(config, monkeypatch, tmp_path / "file") is None
  folder = tmp_path / "shared" / compilation_cache.machine()
  folder.mkdir(parents=True)
  folder.chmod(0o777)  # Anybody's programs would be run.
  assert used(config, monkeypatch, tmp_path / "shared") is None
  monkeypatch.setattr(compilation_cache, "_LEAST_FREE", 1 << 60)
  assert used(config, monkeypatch, tmp_path / "full") is None


def test_a_machine_is_its_instructions_and_versions():
  name = compilation_cache.machine(INTEL)
  slower = INTEL.replace("2799.998", "1200.000").replace("5599", "5600")
  assert compilation_cache.machine(slower) == name
  swapped = INTEL.replace("sse avx ", "avx sse ")
  assert compilation_cache.machine(swapped) == name
  without = compilation_cache.machine(INTEL.replace(" avx512_vnni", ""))
  newer = compilation_cache.machine(INTEL.replace("85", "143"))
  arm = compilation_cache.machine("Features\t: fp asimd sve\n")
  assert len({name, without, newer, arm, compilation_cache.machine("")}) == 5
  assert jax.lib.__version__ in name


def test_the_directory_is_the_platforms(monkeypatch, tmp_path):
  at = compilation_cache.directory
  assert at({"XDG_CACHE_HOME": "/c"}) == at(
    {compilation_cache.SWITCH: "/c/visual_memory/compiled"}
  )
  monkeypatch.setenv("HOME", str(tmp_path))
  monkeypatch.setattr(sys, "platform", "linux")
  assert at({}) == at({"XDG_CACHE_HOME": "relative"})
  assert at({}) == tmp_path / ".cache/visual_memory/compiled"
  monkeypatch.setattr(sys, "platform", "darwin")
  assert at({}) == tmp_path / "Library/Caches/visual_memory/compiled"
  assert at({compilation_cache.SWITCH: "Off"}) is None


def test_what_was_used_least_recently_goes(monkeypatch, tmp_path):
  monkeypatch.setattr(compilation_cache, "MOST_BYTES", 25)
  for age in range(4):
    path = tmp_path / f"machine{age % 2}" / f"{age}-cache"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"0123456789")
    os.utime(path, (1e9 - age, 1e9 - age))
  left = lambda: sorted(p.name[0] for p in tmp_path.rglob("*-cache"))
  compilation_cache._trim(tmp_path)
  assert left() == ["0", "1"]
  monkeypatch.setattr(compilation_cache, "MOST_BYTES", 0)
  compilation_cache._trim(tmp_path)  # Not looked at again within the hour.
  assert left() == ["0", "1"]
  os.utime(tmp_path / "looked-at", (1e9, 1e9))
  compilation_cache._trim(tmp_path)
  assert left() == []


def test_a_call_waits_for_the_import_and_is_made_once(monkeypatch, tmp_path):
  (tmp_path / "late_module.py").write_text("value = 1\n")
  monkeypatch.syspath_prepend(tmp_path)
  calls = []
  for name in "ab":
    when_needed.call(
      "late_module",
      lambda name=name: calls.append(
        name + str(sys.modules["late_module"].value)
      ),
    )
  assert not calls
  import late_module

  assert calls == ["a1", "b1"]
  when_needed.call("late_module", lambda: calls.append("now"))
  assert calls[2:] == ["now"]
  del sys.modules["late_module"]
  assert late_module.__spec__.name == "late_module"
