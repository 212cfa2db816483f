"""Numbers as pages write them."""

import numpy as np

from visual_memory.analysis.intervals import Interval
from visual_memory.reports import tables

FOUND = Interval(mean=0.4481, low=0.4392, high=0.4577, coverage=0.95)


def test_percentages_and_what_is_not_there():
  assert tables.percent(0.44812) == "44.8"
  assert tables.percent(0.005, digits=2, signed=True) == "+0.50"
  assert tables.percent(None) == tables.percent(np.float32("nan")) == "–"
  assert tables.p_value(0.0004) == "< 0.001"
  assert tables.p_value(0.25) == "0.250"
  assert tables.p_value(float("nan")) == "–"


def test_intervals_and_changes():
  assert tables.interval(FOUND) == "44.8 (43.9 to 45.8)"
  lost = Interval(mean=-0.002, low=-0.01, high=0.004, coverage=0.95)
  assert tables.change(lost) == "-0.20 (-1.00 to +0.40)"


def test_spread_over_seeds_is_that_of_a_sample():
  assert tables.spread([0.25, 0.35]) == "30.0 ± 7.1"
  assert tables.spread([0.25]) == "25.0"
  assert tables.spread([]) == "–"


def test_file_names():
  assert tables.file_name("ImageNet-A / hard?") == "imagenet-a_hard_"
