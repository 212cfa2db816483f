"""The human study: its trials, pages in a browser, and what they save."""

import json

import headless
import numpy as np
import pytest

from visual_memory.analysis import intervals
from visual_memory.analysis.human_study import exact_tests, responses, trials
from visual_memory.reports import trial_site

NAMES = ("ant", "bee", "cat", "<dog>", "eel", "fox")
IDS = np.array([f"class{i % 6}/{i}.jpg" for i in range(30)], object)
LABELS = np.arange(30) % 6
PREDICTIONS = np.where(np.arange(30) % 3 == 0, (LABELS + 1) % 6, LABELS)


def make(**change):
  given = {
    "num_classes": 6, "num_trials": 8, "num_choices": 4,
    "num_participants": 4, "within": True, "seed": 0,
  }  # fmt: skip
  return trials.prediction_trials(IDS, LABELS, PREDICTIONS, **(given | change))


def test_trials_offer_the_answer_and_the_truth():
  design = make(num_trials=30)
  for trial in design.trials:
    assert trial.answer == PREDICTIONS[trial.query]
    assert {trial.answer, trial.label} <= set(trial.choices)
    assert len(set(trial.choices)) == 4
    assert IDS[trial.query] == trial.query_id
  places = [trial.choices.index(trial.answer) for trial in design.trials]
  assert set(places) == {0, 1, 2, 3}  # The answer's place tells nothing.


def test_orders_and_conditions_are_balanced():
  design = make()
  assert all(sorted(order) == list(range(8)) for order in design.orders)
  assert len({tuple(order) for order in design.orders}) == 4
  np.testing.assert_array_equal(design.with_neighbors.sum(axis=0), 2)
  np.testing.assert_array_equal(design.with_neighbors.sum(axis=1), 4)
  between = make(within=False).with_neighbors
  np.testing.assert_array_equal(between.all(axis=1), [False, True] * 2)
  np.testing.assert_array_equal(between.any(axis=1), [False, True] * 2)


def test_a_study_depends_on_ids_and_seed_alone():
  shuffled = np.random.default_rng(0).permutation(30)
  again = trials.prediction_trials(
    IDS[shuffled], LABELS[shuffled], PREDICTIONS[shuffled], num_classes=6,
    num_trials=8, num_choices=4, num_participants=4, within=True, seed=0,
  )  # fmt: skip
  assert again.key() == make().key()
  assert make(seed=1).study != make().study


def test_preference_trials_are_the_disagreements():
  design = trials.preference_trials(
    IDS, LABELS, PREDICTIONS, num_trials=10, num_participants=3,
    extras=("both", "neither"), seed=0,
  )  # fmt: skip
  for trial in design.trials:
    assert set(trial.choices) == {trial.answer, trial.label}
    assert trial.answer != trial.label
  with pytest.raises(ValueError, match="11 trials.*10 queries"):
    trials.preference_trials(
      IDS, LABELS, PREDICTIONS, num_trials=11, num_participants=1, extras=(),
      seed=0,
    )  # fmt: skip


@pytest.mark.parametrize(
  "change, problem",
  [
    ({"num_trials": 31}, "31 trials.*30 queries"),
    ({"num_choices": 7}, "7 choices of 6"),
    ({"num_choices": 1}, "1 choices"),
    ({"num_participants": 0}, "num_participants"),
  ],
)
def test_bad_designs(change, problem):
  with pytest.raises(ValueError, match=problem):
    make(**change)


def respond(design, path, participant, choose, *, count=None):
  """A session as the page saves it; choose(trial, shown) -> place."""
  conditions = design.key()["conditions"][participant - 1]
  order = design.orders[participant - 1][:count]
  content = {
    "study": design.study,
    "participant": participant,
    "responses": [
      {
        "position": position + 1,
        "trial": design.trials[i].name,
        "condition": conditions[i],
        "choice": choose(design.trials[i], conditions[i]),
        "seconds": 1.5,
      }
      for position, i in enumerate(order)
    ],
  }
  path.write_text(json.dumps(content))
  return path


def right(trial, _):
  return trial.choices.index(trial.answer)


def test_exact_tests_of_known_tables(tmp_path):
  """Textbook values: R's binom.test, fisher.test and mcnemar.exact."""
  half = exact_tests.proportion(7, 10, chance=0.5)
  assert half.p_value == pytest.approx(0.34375)  # 352 / 1024
  assert (half.fraction.low, half.fraction.high) == pytest.approx(
    (0.3475471, 0.9332605)
  )
  assert exact_tests.proportion(0, 10, chance=0.5).fraction.low == 0
  assert intervals.mcnemar(1, 9) == pytest.approx(22 / 1024)
  assert intervals.mcnemar(0, 0) == 1  # No evidence.
  # Everyone right with neighbors, no one without: 16 of each.
  design = make()
  choose = lambda trial, shown: (right(trial, 0) + (shown == "A")) % 4
  paths = [
    respond(design, tmp_path / f"{p}.json", p, choose) for p in (1, 2, 3, 4)
  ]
  found = responses.read_responses(paths, design.key())
  compared = exact_tests.compare_conditions(found, num_choices=4)
  assert (compared.without.successes, compared.without.total) == (0, 16)
  assert (compared.with_neighbors.successes, compared.more) == (16, 8)
  # 2 / (32 choose 16), and 2 / 2**8.
  assert compared.fisher_p == pytest.approx(2 / 601080390)
  assert compared.paired_p == pytest.approx(2 / 256)


def test_preference_corrects_the_accuracy(tmp_path):
  design = trials.preference_trials(
    IDS, LABELS, PREDICTIONS, num_trials=10, num_participants=2, extras=(),
    seed=0,
  )  # fmt: skip
  model = {t.name for t in design.trials[:4]}
  choose = lambda trial, _: trial.choices.index(
    trial.answer if trial.name in model else trial.label
  )
  paths = [respond(design, tmp_path / f"{p}.json", p, choose) for p in (1, 2)]
  found = responses.read_responses(paths, design.key())
  told = exact_tests.preference(found, accuracy=0.611)
  assert told.chosen.fraction.mean == told.observer_mean == pytest.approx(0.4)
  assert told.observer_error == pytest.approx(0, abs=1e-12)
  assert told.corrected_accuracy == pytest.approx(0.611 + 0.4 * 0.389)


def test_unfinished_sessions_count_with_what_they_have(tmp_path):
  design = make()
  path = respond(design, tmp_path / "1.json", 1, right, count=3)
  found = responses.read_responses([path], design.key())
  assert len(found) == 3 and found.num_unfinished == 1
  assert found.correct.all()


def spoil(change):
  def spoiled(content):
    change(content)
    return json.dumps(content)

  return spoiled


@pytest.mark.parametrize(
  "damage, problem",
  [
    (lambda c: json.dumps(c)[:-20], "not valid JSON"),
    (lambda c: "[]", "no session"),
    (spoil(lambda c: c.pop("participant")), "no 'participant'"),
    (spoil(lambda c: c.update(study="other")), "study 'other'"),
    (spoil(lambda c: c.update(participant=0)), "participant 0"),
    (spoil(lambda c: c.update(participant=1.5)), "1.5 is no whole"),
    (spoil(lambda c: c.update(responses=[3])), "list of objects"),
    (spoil(lambda c: c["responses"][1].pop("choice")), "2 has no 'choice'"),
    (spoil(lambda c: c["responses"][0].update(choice=4)), "choice 4 of 4"),
    (spoil(lambda c: c["responses"][0].update(choice="x")), "'x' is no whole"),
    (spoil(lambda c: c["responses"][0].update(seconds="soon")), "'soon'"),
    (spoil(lambda c: c["responses"][0].update(trial="t999")), "t999"),
    (spoil(lambda c: c["responses"][0].update(condition="C")), "'C'"),
    (
      spoil(lambda c: c["responses"].append(c["responses"][0])),
      "response 9.*twice",
    ),
  ],
)
def test_malformed_files_are_named(tmp_path, damage, problem):
  design = make()
  path = respond(design, tmp_path / "bad.json", 1, right)
  path.write_text(damage(json.loads(path.read_text())))
  with pytest.raises(ValueError, match=problem) as error:
    responses.read_responses([path], design.key())
  assert "bad.json" in str(error.value)


def test_files_that_do_not_go_together(tmp_path):
  design = make()
  path = respond(design, tmp_path / "1.json", 1, right)
  twin = respond(design, tmp_path / "twin.json", 1, right)
  with pytest.raises(ValueError, match="twin.json.*1.json"):
    responses.read_responses([path, twin], design.key())
  with pytest.raises(ValueError, match="no response files"):
    responses.read_responses([], design.key())
  between = make(within=False)
  path = respond(between, tmp_path / "2.json", 1, right)
  found = responses.read_responses([path], between.key())
  with pytest.raises(ValueError, match="condition A"):
    exact_tests.compare_conditions(found, num_choices=4)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
  folder = tmp_path_factory.mktemp("study")
  rng = np.random.default_rng(0)
  image = lambda i: rng.integers(0, 255, (64, 80, 3), dtype=np.uint8)
  trial_site.write_site(
    folder, make(), class_names=NAMES, title="Guess", query_image=image,
    neighbor_images=lambda i: [image(i) for _ in range(4)],
  )  # fmt: skip
  return folder


def test_the_page_does_not_tell_the_answers(site):
  text = (site / "site/index.html").read_text()
  assert '"answer"' not in text and "class0/" not in text
  assert json.loads((site / "key.json").read_text())["trials"][0]["answer"] >= 0


def test_a_session_in_the_browser(site, tmp_path):
  """Answered by keys and clicks, left, taken up again, saved, and read."""
  key = json.loads((site / "key.json").read_text())
  design, path = make(), site / "site/index.html"
  expected = design.orders[1]
  with (
    headless.chromium() as browser,
    headless.page_of(browser, path, width=390) as page,
  ):
    page.fill("#participant", "2")
    page.click("#begin")
    for place, i in enumerate(expected):
      if place == 3:  # Leaves, and comes back.
        page.click("#stop")
        page.reload()
        page.fill("#participant", "2")
        assert "3 of 8" in page.inner_text("#resume")
        page.click("#begin")
      assert page.inner_text("#progress-text") == f"{place + 1} of 8"
      shown = page.locator(".evidence img").count()
      assert shown == (4 if design.with_neighbors[1, i] else 0)
      trial = design.trials[i]
      choice = trial.choices.index(trial.answer)
      button = page.locator("#choices button").nth(choice)
      assert NAMES[trial.answer] in button.inner_text()
      if place % 2:  # The second of a double click answers nothing more.
        button.click(click_count=2)
      else:
        page.keyboard.press(str(choice + 1))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for kind in ("json", "csv"):
      with page.expect_download() as download:
        page.click(f"#save-{kind}")
      saved = tmp_path / f"2.{kind}"
      download.value.save_as(saved)
      found = responses.read_responses([saved], key)
      assert found.correct.all() and len(found) == 8
      np.testing.assert_array_equal(found.trials, expected)
      np.testing.assert_array_equal(
        found.with_neighbors, design.with_neighbors[1][expected]
      )


def test_other_choices_are_the_most_plausible_ones():
  """As published: the top predictions of another model, in random order."""
  plausible = (LABELS[:, None] + np.arange(4)) % 6
  design = make(num_trials=30, plausible=plausible)
  for trial in design.trials:
    label = LABELS[trial.query]
    wanted = dict.fromkeys([trial.answer, label, *(label + np.arange(4)) % 6])
    assert set(trial.choices) == set(list(wanted)[:4])
  places = [trial.choices.index(trial.label) for trial in design.trials]
  assert len(set(places)) == 4  # The order tells nothing.
  assert make(num_trials=30).key() != design.key()
  with pytest.raises(ValueError, match="2 plausible classes for 4 choices"):
    make(plausible=plausible[:, :2])
