"""The page of a memory of 100,000 rows, timed in a browser.

  python -m experiments.benchmarks.page \\
      --config=configs/benchmark_page.py --workdir=work/page

About two minutes on two CPU cores after the store is made (one more); needs
Chromium and `pip install -e ".[test]"`, and 0.3 GB of disk.
"""

import ml_collections

from configs import evaluate


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` has 600 rows."""
  smoke = evaluate.is_smoke(arg)
  config = ml_collections.ConfigDict()
  config.encoder = "pixels" if smoke else "procedural_patches"
  config.num_rows = 600 if smoke else 100_000
  config.num_classes = 20
  config.num_pictures = 50 if smoke else 2_000  # Files are linked to them.
  config.side = 96 if smoke else 256  # Of a picture, in pixels.
  config.width, config.height = 1280, 800  # Of the window.
  config.parts = ("paint", "ask", "scroll", "map")
  config.ready_s = 0 if smoke else 20
  config.num_asked = 3 if smoke else 12
  config.scrolled_s = 1.0 if smoke else 8.0
  return config
