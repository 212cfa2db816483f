"""Pages that repeat what the code says, so that they cannot disagree with it.

generate.write(folder)  # Reference, commands, configs, results: Markdown.
"""

import ast
import contextlib
import importlib
import inspect
import io
import json
import pathlib
import shutil
from typing import Any

import visual_memory as vm

ROOT = pathlib.Path(__file__).resolve().parents[1]
_RESULTS = ROOT / "experiments" / "results"
_MANY = 40
"""Rows of a table that a results page shows; longer ones stay in their file."""


def write(folder: pathlib.Path) -> None:
  """Writes all pages into a folder, which is theirs alone."""
  shutil.rmtree(folder, ignore_errors=True)
  pages = {
    **reference(),
    "commands.md": commands(),
    "configs.md": configs(),
    "encoders.md": encoders(),
    **results(),
  }
  for name, text in pages.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def reference() -> dict[str, str]:
  """A page for each public name, and one that lists them."""
  pages, rows = {}, []
  for name in sorted(vm.__all__, key=str.lower):
    item = getattr(vm, name)
    first = (inspect.getdoc(item) or "").split("\n")[0]
    rows.append(f"- [`vm.{name}`](reference/{name}.md): {first}")
    pages[f"reference/{name}.md"] = _reference_page(name, item)
  listed = "\n".join(rows)
  entries = "\n".join(f"reference/{name}" for name in vm.__all__)
  pages["reference.md"] = (
    "# Reference\n\nEvery public name, `import visual_memory as vm`.\n\n"
    f"{listed}\n\n```{{toctree}}\n:hidden:\n\n{entries}\n```\n"
  )
  return pages


def _reference_page(name: str, item: Any) -> str:
  """One public name, as autodoc shows it."""
  if inspect.ismodule(item):
    directive, target = "automodule", item.__name__
  else:
    kind = "class" if inspect.isclass(item) else "function"
    directive, target = f"auto{kind}", f"{item.__module__}.{item.__qualname__}"
  options = "" if directive == "autofunction" else "   :members:\n"
  directed = f".. {directive}:: {target}\n{options}"
  return f"# vm.{name}\n\n```{{eval-rst}}\n{directed}```\n"


def encoders() -> str:
  """Every encoder with its licence and address; how far from transformers."""
  parity = json.loads((_RESULTS / "encoder_parity.json").read_text())
  worst: dict[tuple[str, str, str], float] = {}
  for row in parity["rows"]:
    key = row["family"], row["layout"], row["what"]
    worst[key] = max(worst.get(key, 0.0), row["difference"])
  rows = [
    f"| {' | '.join(key)} | {value:.1e} |" for key, value in worst.items()
  ]
  parts = [
    "# Published encoders",
    "`vm.load_encoder` takes these names, and also a directory or a repository"
    " of the Hugging Face hub (`facebook/dinov2-small`) that says what it is.",
    vm.list_encoders().to_markdown(),
    f"## As near to {parity['against']}",
    f"Random weights, every tensor drawn, positions by transformers' rule;"
    f" {parity['difference']}:"
    f" `{parity['command']}`.",
    "| family | layout of the file | what | difference |\n"
    "| --- | --- | --- | --- |\n" + "\n".join(rows),
  ]
  return "\n\n".join(parts) + "\n"


def commands() -> str:
  """What `visual-memory COMMAND --help` prints, of every command."""
  main = importlib.import_module("visual_memory.cli.main")
  parts = ["# Commands\n", _block(_printed(main.main, ["--help"]))]
  parser = main._parser()
  names = next(action.choices for action in parser._actions if action.choices)
  for name in names:
    help_text = _printed(main.main, [name, "--help"])
    parts.append(f"\n## visual-memory {name}\n\n{_block(help_text)}")
  return "\n".join(parts)


def _printed(function: Any, argv: list[str]) -> str:
  """What a command prints before it exits."""
  text = io.StringIO()
  with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
    function(argv)
  return text.getvalue()


def _block(text: str, language: str = "text") -> str:
  return f"```{language}\n{text.rstrip()}\n```\n"


def configs() -> str:
  """The docstring of every config: command, hardware, time, what to expect."""
  parts = [
    "# Configs\n",
    "Run one with `python -m experiments.launch --config=configs/NAME.py"
    " --workdir=DIR` from a clone; `:smoke` after the name is its smallest"
    " form. Any value is overridden by `--config.a.b=value`.\n",
  ]
  for path in sorted((ROOT / "configs").rglob("*.py")):
    if path.stem == "__init__":
      continue
    name = path.relative_to(ROOT)
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    title, _, rest = text.partition("\n")
    parts.append(f"## {name}\n\n{title}\n\n{_prose(rest)}")
  return "\n".join(parts)


def _prose(text: str) -> str:
  """A docstring as Markdown: its indented lines are commands, or tables."""
  parts = []
  for paragraph in inspect.cleandoc("\n" + text).split("\n\n"):
    lines = inspect.cleandoc(paragraph)
    if paragraph.startswith("  ") or _is_command(lines):
      paragraph = _block(lines, "sh" if _is_command(lines) else "text")
    parts.append(paragraph)
  return "\n\n".join(parts) + "\n"


def _is_command(paragraph: str) -> bool:
  return paragraph.startswith(("python -m", "--config", "JAX_"))


def results() -> dict[str, str]:
  """A page for each file of experiments/results, and one that lists them."""
  pages, rows, names = {}, [], []
  for path in sorted((ROOT / "experiments" / "results").glob("*.json")):
    result = json.loads(path.read_text(encoding="utf-8"))
    pages[f"results/{path.stem}.md"] = result_page(path.stem, result)
    command = result.get("command") or result.get("what") or ""
    rows.append(f"| [{path.stem}](results/{path.stem}.md) | {_cell(command)} |")
    names.append(f"results/{path.stem}")
  table = "| result | made by |\n| --- | --- |\n" + "\n".join(rows)
  entries = "\n".join(names)
  pages["results.md"] = (
    "# Results\n\nWhat was measured here, with the command, commit and machine"
    f" of each.\n\n{table}\n\n```{{toctree}}\n:hidden:\n\n{entries}\n```\n"
  )
  return pages


def result_page(name: str, result: dict[str, Any]) -> str:
  """A results file as tables."""
  parts = [f"# {name}\n"]
  if isinstance(result.get("what"), str):
    parts.append(result["what"] + "\n")
  if isinstance(result.get("command"), str):
    parts.append(_block(result["command"], "sh"))
  about = {
    key: result[key] for key in ("commit", "machine", "cpu") if key in result
  }
  parts.append(_about(about))
  for key, value in result.items():
    if key not in ("what", "command", *about):
      parts.append(f"## {key.replace('_', ' ')}\n\n{_shown(value)}")
  parts.append(
    f"\nAll numbers: `experiments/results/{name}.json` of the repository.\n"
  )
  return "\n".join(parts)


def _about(values: dict[str, Any]) -> str:
  """Commit and machine in one small table, the versions on one line."""
  flat = {}
  for key, value in _flat(values):
    where, _, package = key.partition(" versions ")
    if package:
      line = flat.get(f"{where} versions", "")
      flat[f"{where} versions"] = f"{line}, {package} {value}".lstrip(", ")
    else:
      flat[key] = value
  rows = [f"| {key} | {_cell(value)} |" for key, value in flat.items()]
  return "| | |\n| --- | --- |\n" + "\n".join(rows) + "\n" if rows else ""


def _shown(value: Any, depth: int = 3) -> str:
  """A value as a table, as sections of its parts, or at last as JSON."""
  if not isinstance(value, dict | list):
    return f"{_cell(value)}\n"
  table = _table(value)
  if table:
    return table
  if isinstance(value, dict) and depth < 5:
    plain = {k: v for k, v in value.items() if not _nested(v)}
    parts = [_table(plain)] if plain else []
    parts += [
      f"{'#' * depth} {str(k).replace('_', ' ')}\n\n{_shown(v, depth + 1)}"
      for k, v in value.items()
      if _nested(v)
    ]
    return "\n".join(parts)
  text = json.dumps(value, indent=1)
  lines = text.split("\n")
  if len(lines) > 4 * _MANY:
    lines = [*lines[: 4 * _MANY], "... (more in the file)"]
  return _block("\n".join(lines), "text")


def _table(value: Any) -> str:
  """Rows of the same keys, or names and scalars; "" if it is neither."""
  items = (
    list(value.items())
    if isinstance(value, dict)
    else [(i, v) for i, v in enumerate(value)]
  )
  if not items or len(items) > _MANY:
    return ""
  if not any(_nested(v) for _, v in items):
    rows = [f"| {_cell(key)} | {_cell(v)} |" for key, v in items]
    return "| | |\n| --- | --- |\n" + "\n".join(rows) + "\n"
  flats = [dict(_flat(v)) for _, v in items if isinstance(v, dict)]
  if len(flats) < len(items):
    return ""
  columns = list(dict.fromkeys(key for flat in flats for key in flat))
  if not 0 < len(columns) <= 14:
    return ""
  head = "| | " + " | ".join(_cell(c) for c in columns) + " |\n"
  head += "| --- " * (len(columns) + 1) + "|\n"
  rows = [
    f"| {_cell(key)} | "
    + " | ".join(_cell(flat.get(c, "")) for c in columns)
    + " |"
    for (key, _), flat in zip(items, flats, strict=True)
  ]
  return head + "\n".join(rows) + "\n"


def _nested(value: Any) -> bool:
  """Whether a value does not fit into a cell."""
  return isinstance(value, dict) or (
    isinstance(value, list)
    and (len(value) > 8 or any(isinstance(v, dict | list) for v in value))
  )


def _flat(value: dict[str, Any], before: str = ""):
  """The leaves of a tree of dicts, with their path as a name."""
  for key, item in value.items():
    if isinstance(item, dict):
      yield from _flat(item, f"{before}{key} ")
    else:
      yield f"{before}{key}".replace("_", " "), item


def _cell(value: Any) -> str:
  """A value in a cell: four significant digits, lists shortened."""
  if isinstance(value, float):
    return f"{value:.4g}"
  if isinstance(value, list):
    shown = ", ".join(_cell(v) for v in value[:6])
    return shown + (" ..." if len(value) > 6 else "")
  return str(value).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
