"""Two-alternative questions: published layout, made ones, and statistics."""

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from skimage import metrics

import visual_memory as vm
from visual_memory.analysis import two_afc
from visual_memory.data import array_source, triplets

HEADER = (
  "id,left_vote,right_vote,votes,ref_path,left_path,right_path,prompt,"
  "is_imagenet,split\n"
)


@pytest.fixture
def nights(tmp_path):
  """Three triplets, one with too few votes, one of another split."""
  lines = [HEADER]
  rows = [
    (1, 0, 1, 7, "True", "val"),
    (2, 1, 0, 5, "False", "val"),
    (3, 1, 0, 6, "False", "val"),
    (4, 0, 1, 9, "True", "test"),
  ]
  for number, left, right, votes, is_imagenet, split in rows:
    paths = [f"{kind}/000/{number}{side}.png" for kind, side in
             (("ref", ""), ("distort", "_0"), ("distort", "_1"))]  # fmt: skip
    for shade, path in enumerate(paths):
      (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
      shape = (4, 5, 3)
      pixels = np.full(shape, 10 * number + shade, np.uint8)
      Image.fromarray(pixels).save(tmp_path / path)
    lines.append(
      f"{number},{left},{right},{votes},{','.join(paths)},a cat,"
      f"{is_imagenet},{split}\n"
    )
  (tmp_path / "data.csv").write_text("".join(lines))
  return tmp_path


def test_nights_in_the_published_layout(nights):
  found = triplets.nights(nights, split="val")
  assert found.ids.tolist() == ["1", "3"]
  assert found.answers.tolist() == [triplets.RIGHT, triplets.LEFT]
  assert found.groups.tolist() == ["imagenet", "no_imagenet"]
  assert [image[0, 0, 0] for image in found.images(1)] == [30, 31, 32]
  assert len(triplets.nights(nights, split="val", min_votes=1)) == 3


@pytest.mark.parametrize(
  "change, message",
  [
    (lambda text: text.replace("ref_path", "refs"), r"lacks .*'ref_path'"),
    (lambda text: text.replace("1,0,1,7", "1,1,1,7"), "1 of .* no winner"),
    (lambda text: text.replace("ref/000/3", "ref/009/3"), "'ref/009/3.png'"),
    (lambda text: text.replace(",val", ",train"), "no triplet of the split"),
  ],
)
def test_broken_copies_of_nights(nights, change, message):
  file = nights / "data.csv"
  file.write_text(change(file.read_text()))
  with pytest.raises(ValueError, match=message):
    triplets.nights(nights, split="val")


def test_nights_without_its_list(tmp_path):
  with pytest.raises(ValueError, match="must hold one data.csv"):
    triplets.nights(tmp_path, split="val")


@pytest.fixture(scope="module")
def photographs():
  """Smooth random pictures."""
  stream = np.random.default_rng(0)
  low = stream.integers(0, 256, (6, 5, 5, 3), dtype=np.uint8)
  images = [
    np.asarray(Image.fromarray(image).resize((64, 60), Image.BICUBIC))
    for image in low
  ]
  return array_source.array_source(
    np.stack(images),
    np.zeros(6, np.int32),
    ids=[f"photo/{n}" for n in range(6)],
    class_names=("photo",),
    fingerprint="photographs",
  )


@pytest.mark.parametrize("name", triplets.DISTORTIONS)
def test_a_higher_level_is_farther(photographs, name):
  """The mean squared error, over pictures and seeds, grows with the level."""
  errors = []
  for level in (0, 3, triplets.LEVELS - 1):
    worse = [
      triplets.distort(photographs.images[row], name, level=level, seed=row)
      for row in range(6)
    ]
    difference = np.asarray(worse, np.float64) - photographs.images
    errors.append(np.square(difference).mean())
    assert worse[0].shape == (60, 64, 3) and worse[0].dtype == np.uint8
  assert 0 < errors[0] < errors[1] < errors[2]


def test_made_questions_are_of_the_seed_alone(photographs):
  first = triplets.distorted(photographs, gaps=(1, 4), seed=3)
  again = triplets.distorted(photographs, gaps=(4,), seed=3)
  other = triplets.distorted(photographs, gaps=(1, 4), seed=4)
  assert len(first) == 6 * len(triplets.DISTORTIONS) * 2
  of_four = np.flatnonzero(first.groups == 4)
  assert first.ids[of_four].tolist() == again.ids.tolist()
  for ours, theirs in zip(
    first.images(of_four[5]), again.images(5), strict=True
  ):
    np.testing.assert_array_equal(ours, theirs)
  assert (first.answers != other.answers).any()
  assert 0.3 < first.answers.mean() < 0.7
  with pytest.raises(ValueError, match="between 1 and 7"):
    triplets.distorted(photographs, gaps=(8,), seed=0)


def test_agreement_rises_with_the_gap(photographs):
  made = triplets.distorted(photographs, gaps=(1, 6), seed=0)
  encoder = vm.load_encoder("pixels", size=16)
  found = two_afc.encoder_similarities(encoder, made, batch_size=7)
  by_gap = {
    gap: two_afc.agreement(
      found[made.groups == gap], made.answers[made.groups == gap]
    ).accuracy.mean
    for gap in (1, 6)
  }
  assert 0.55 < by_gap[1] < by_gap[6]
  embeddings = encoder.encode(made.images(9)).astype(np.float64)
  np.testing.assert_allclose(found[9], embeddings[0] @ embeddings[1:].T)


def test_pixel_measures_are_those_of_scikit_image(photographs):
  made = triplets.distorted(photographs, gaps=(2,), seed=0)
  for name, measure in two_afc.PIXEL_MEASURES.items():
    found = two_afc.pixel_similarities(measure, made, side=24)
    reference, left, _ = (
      np.asarray(Image.fromarray(image).resize((24, 24), Image.BICUBIC))
      for image in made.images(4)
    )
    expected = {
      "psnr": lambda a, b: metrics.peak_signal_noise_ratio(a, b),
      "ssim": lambda a, b: metrics.structural_similarity(a, b, channel_axis=2),
    }[name](reference, left)
    assert found[4, 0] == pytest.approx(expected)
    assert found.shape == (len(made), 2)
  same = np.zeros((8, 8, 3), np.uint8)
  assert two_afc.psnr(same, same) == np.inf


def test_ties_count_one_half_and_intervals_are_exact():
  similarities = np.array([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5], [0.8, 0.2]])
  answers = np.array([0, 0, 1, 0])
  assert two_afc.points(similarities, answers).tolist() == [1, 0, 0.5, 1]
  found = two_afc.agreement(similarities, answers)
  assert found.accuracy.mean == 0.625 and found.count == 4
  whole = two_afc.agreement(similarities[[0, 1, 3]], answers[[0, 1, 3]])
  exact = stats.binomtest(2, 3).proportion_ci(0.95, "exact")
  assert (whole.accuracy.low, whole.accuracy.high) == pytest.approx(
    (exact.low, exact.high)
  )
  assert whole.standard_error == pytest.approx(np.sqrt(2 / 9 / 3))
  with pytest.raises(ValueError, match="without NaN"):
    two_afc.points(similarities * np.nan, answers)


def test_paired_test_is_mcnemars():
  stream = np.random.default_rng(0)
  ours, theirs = stream.integers(0, 2, (2, 60)).astype(np.float64)
  ours[0] = 0.5
  table = [int(((ours > theirs) & (ours != 0.5)).sum()),
           int(((ours < theirs) & (ours != 0.5)).sum())]  # fmt: skip
  tail = stats.binom.cdf(min(table), sum(table), 0.5)
  assert two_afc.paired_p_value(ours, theirs) == pytest.approx(min(1, 2 * tail))
  assert two_afc.paired_p_value(ours, ours) == 1.0
