"""Perception with an editable memory.

  import visual_memory as vm

  source = vm.open_source("folder", path="photos.zip", split="train")
  encoder = vm.load_encoder("pixels")
  memory = vm.VisualMemory.from_embedded(vm.embed(encoder, source))
  near = vm.search("cat.jpg", memory, k=10, encoder=encoder)
  vm.vote(near).names                  # by rank, of all k neighbors: [1, 1]

Names are loaded when first used, so that importing the package is quick.
"""

import importlib

from visual_memory import compilation_cache, when_needed

__version__ = "0.2.0"

_HOMES = {
  "EmbeddedSet": "types",
  "Neighbors": "types",
  "Store": "store.store",
  "VisualMemory": "memory.memory",
  "Votes": "types",
  "embed": "encoders.embedding.embed",
  "embed_classes": "encoders.text.class_texts",
  "embed_texts": "encoders.text.class_texts",
  "embedded_set": "types",
  "list_encoders": "encoders.encoder",
  "list_sources": "data.sources",
  "load_encoder": "encoders.encoder",
  "make_mesh": "distributed",
  "map_of": "analysis.neighbor_map",
  "open_source": "data.sources",
  "search": "retrieval.exact",
  "show": "reports.notebook",
  "vote": "voting.vote",
}

_MODULES = ("sklearn",)
"""Modules that are used as vm.NAME; they need an extra."""

__all__ = list(_HOMES)


def __getattr__(name: str):
  """The public object of this name, imported from its home."""
  if name in _MODULES:
    return importlib.import_module(f"{__name__}.{name}")
  if name not in _HOMES:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  module = importlib.import_module(f"{__name__}.{_HOMES[name]}")
  value = globals()[name] = getattr(module, name)
  return value


def __dir__() -> list[str]:
  """Public names, for completion."""
  return sorted(__all__)


when_needed.call("jax", compilation_cache.use)
