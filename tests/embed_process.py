"""One of the processes of encoders_embed_test: embeds, and says what it did."""

import json
import pathlib
import sys

import jax

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_cpu_collectives_implementation", "gloo")

import numpy as np
from recording_source import UNREADABLE, RecordingSource

from visual_memory import distributed
from visual_memory.encoders.embedding.embed import embed_with_report
from visual_memory.encoders.encoder import load_encoder


def main(output, shared_cache):
  distributed.initialize()
  assert jax.process_count() == 2 and jax.device_count() == 4
  output = pathlib.Path(output)
  output.mkdir()
  embed_twice(output / "shared", cache_dir=shared_cache)
  embed_twice(output / "own", cache_dir=output / "cache")
  embed_twice(output / "none", cache_dir=None)
  # The devices of the first process alone.
  embed_twice(output / "first", cache_dir=None, mesh=distributed.make_mesh(2))


def embed_twice(output, **options):
  source = RecordingSource(unreadable=UNREADABLE)
  encoder = load_encoder("pixels", size=4)
  embedded, report = embed_with_report(encoder, source, **options)
  rows_read = source.rows_read()
  _, again = embed_with_report(encoder, source, **options)
  np.savez(
    output.with_suffix(".npz"),
    embeddings=embedded.embeddings,
    labels=embedded.labels,
  )
  note = {
    "reads": rows_read,
    "ids": embedded.ids.tolist(),
    "skipped": [skipped.row for skipped in report.skipped],
    "num_reused": report.num_reused,
    "num_reused_again": again.num_reused,
  }
  output.with_suffix(".json").write_text(json.dumps(note))


if __name__ == "__main__":
  main(*sys.argv[1:])
