"""The explorer, driven in a browser: it must vote as vm.vote does."""

import dataclasses
import json

import headless
import numpy as np
import pytest

import visual_memory as vm
from visual_memory.analysis import influence
from visual_memory.reports import explorer
from visual_memory.types import UNLABELED, Neighbors
from visual_memory.voting import weighting

CLASSES = ("ant", "<bee> & </script>", "cat", "dog")
RETRIEVED, MOST_K = 24, 8
HYPER = {"distance": "exponent", "softmax": "temperature", "rank": "offset"}


def random_near(rng, num_queries, num_rows=40):
  """Neighbors full of equal similarities, with some unlabeled rows."""
  row_labels = rng.integers(UNLABELED, len(CLASSES), num_rows)
  indices = np.stack(
    [rng.permutation(num_rows)[:RETRIEVED] for _ in range(num_queries)]
  ).astype(np.int32)
  similarities = np.sort(rng.choice(8, indices.shape) / 8)[:, ::-1]
  return Neighbors(
    ids=np.array([f"row/{i}" for i in range(num_rows)], object)[indices],
    indices=indices,
    labels=row_labels[indices].astype(np.int32),
    similarities=similarities.astype(np.float32) * np.float32(0.7),
  )


@pytest.fixture(scope="module")
def case(tmp_path_factory):
  rng = np.random.default_rng(0)
  near = random_near(rng, 30)
  picture = lambda i: rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
  wrong = rng.integers(0, 9, 40)
  reliability = explorer.Reliability(
    row_ids=np.array([f"row/{i}" for i in range(40)], object),
    wrong_counts=wrong,
    factors=np.where(wrong, 1.75 / (1 + wrong), 1.0),
    threshold=7,
  )
  suspect = near.take(range(2))
  sets = [
    explorer.QuerySet(
      name="test",
      near=near,
      labels=rng.integers(0, 4, 30),
      ids=np.array([f"query/{i}" for i in range(30)], object),
      image=picture,
    ),
    explorer.QuerySet(
      name="label errors",
      near=suspect,
      labels=np.array([0, 1]),
      ids=near.ids[5, :2],
      image=lambda i: None,
      suggested=np.array([2, 3]),
      margin=np.array([0.5, 0.25]),
    ),
  ]
  text = explorer.render_explorer(
    sets,
    title="What if",
    class_names=CLASSES,
    settings=weighting.published_settings(),
    voter="rank",
    k=5,
    memory_image=picture,
    reliability=reliability,
  )
  path = tmp_path_factory.mktemp("explorer") / "explorer.html"
  path.write_text(text, encoding="utf-8")
  return path, near, reliability


@pytest.fixture(scope="module")
def browser():
  with headless.chromium() as found:
    yield found


@pytest.fixture(scope="module")
def page(browser, case):
  with headless.page_of(browser, case[0]) as opened:
    yield opened


SHOWN = """() => [
  document.querySelector("#answer").dataset.label,
  [...document.querySelectorAll("#scores tr")].map(
    row => [row.dataset.class, row.dataset.score]),
]"""


def shown(page):
  """The answer's class and the scores by class, as the page shows them."""
  return as_told(page.evaluate(SHOWN))


def as_told(found):
  """What SHOWN gives, as numbers."""
  label, scores = found
  return int(label), {int(c): float(s) for c, s in scores if float(s) > 0}


def expected(near, query, *, k, voter, factors=None, **hyper):
  votes = vm.vote(
    near.take([query]), voter=voter, ks=(k,), num_classes=len(CLASSES),
    factors=None if factors is None else factors[[query]], **hyper,
  )  # fmt: skip
  scores = votes.class_scores[0, 0]
  return int(votes.predictions[0, 0]), {
    c: pytest.approx(float(s), rel=1e-6) for c, s in enumerate(scores) if s > 0
  }


@pytest.mark.parametrize("voter", weighting.VOTERS)
def test_the_page_votes_as_we_do(page, case, voter):
  _, near, _ = case
  page.click("#reset", force=True) if page.is_enabled("#reset") else None
  page.select_option("#voter", voter)
  queries = list(range(0, 30, 4))
  for k in (1, 4, MOST_K):
    page.fill("#k", str(k))
    found = page.evaluate(
      f"(all) => all.map(q => {{ open(q); return ({SHOWN})(); }})", queries
    )
    for query, one in zip(queries, found, strict=True):
      assert as_told(one) == expected(near, query, k=k, voter=voter)


def test_random_edits_and_pruning_decide_as_the_library_does(page, case):
  """All 30 queries under 40 random settings, by the page's own function."""
  _, near, reliability = case
  rng = np.random.default_rng(1)
  rows = list(dict.fromkeys(near.ids.ravel()))
  place = {row_id: i for i, row_id in enumerate(rows)}  # As the page numbers.
  assert page.evaluate("rows.map(r => r.id)")[: len(rows)] == rows
  for trial in range(40):
    voter = list(weighting.VOTERS)[trial % 4]
    hyper = {HYPER[voter]: 0.25 + trial} if voter in HYPER else {}
    mode = ("none", "soft", "hard")[trial % 3]
    k = (4, 8)[trial & 1]  # Few: each is compiled.
    touched = rng.permutation(rows)[:4]
    removed = list(map(str, touched[:2]))
    relabeled = {str(i): int(rng.integers(-1, 4)) for i in touched[2:]}
    answers = page.evaluate(
      """([setting, removed, relabeled, pruning]) => data.queries.slice(0, 30)
        .map(q => vote(q, setting, {removed: new Set(removed),
                       relabeled: new Map(relabeled)}, pruning).leader)""",
      [
        {"voter": voter, "k": k, "hyper": next(iter(hyper.values()), 0)},
        [place[i] for i in removed],
        [[place[i], label] for i, label in relabeled.items()],
        {"mode": mode, "threshold": reliability.threshold},
      ],
    )
    if mode == "hard":
      counts = reliability.wrong_counts[near.indices]
      removed += near.ids[counts >= reliability.threshold].tolist()
      for row_id in removed:
        relabeled.pop(row_id, None)
    changed = influence.edited(near, removed=removed, relabeled=relabeled, k=k)
    factors = reliability.factors[changed.indices] if mode == "soft" else None
    ours = vm.vote(
      changed, voter=voter, ks=(k,), num_classes=4, factors=factors, **hyper
    )
    assert answers == ours.predictions[0].tolist()


def test_removing_relabeling_and_undoing_by_hand(browser, case, tmp_path):
  path, near, _ = case
  with headless.page_of(browser, path, width=390) as page:
    page.fill("#k", "4")
    first, second = map(str, near.ids[0, :2])
    page.click(f"[data-row='{first}'] button:has-text('Remove')")
    removed = influence.edited(near, removed=[first], relabeled={}, k=4)
    assert shown(page) == expected(removed, 0, k=4, voter="rank")
    page.click(f"[data-row='{second}'] button:has-text('Relabel')")
    page.select_option("#relabel-to", label=CLASSES[1])
    both = influence.edited(near, removed=[first], relabeled={second: 1}, k=4)
    answer = expected(both, 0, k=4, voter="rank")
    # The click itself relabels: a dialog's "close" would come a task later.
    assert page.evaluate("""() => {
      document.querySelector("#relabel button[value=ok]").click();
      return Number(document.querySelector("#answer").dataset.label);
    }""") == answer[0]  # fmt: skip
    assert shown(page) == answer
    weights = page.eval_on_selector_all(
      "#neighbors li", "all => all.map(li => Number(li.dataset.weight || 0))"
    )
    assert weights[0] == 0
    with page.expect_download() as download:
      page.click("#save")
    download.value.save_as(tmp_path / "edits.json")
    assert json.loads((tmp_path / "edits.json").read_text()) == {
      "remove": [first],
      "relabel": {second: CLASSES[1]},
    }
    page.click("#reset")
    assert shown(page) == expected(near, 0, k=4, voter="rank")
    # Nothing sticks out of a phone's screen.
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_running_out_of_neighbors_is_said(browser, case):
  path, near, _ = case
  with headless.page_of(browser, path) as page:
    page.fill("#k", str(RETRIEVED))
    assert page.is_hidden("#short")
    page.locator("#neighbors button", has_text="Remove").first.click()
    assert f"k = {RETRIEVED - 1}" in page.inner_text("#short")


def test_the_keyboard_and_the_lists(browser, case):
  with headless.page_of(browser, case[0]) as page:
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#query-id") == "query/1"
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#query-id") == "query/0"
    page.check("[name=set][value='label errors']", force=True)
    assert page.inner_text("#position") == "1 of 2"
    assert "cat rather than" in page.inner_text("#suspicion")
    page.click("#suspicion button:has-text('Relabel')")
    assert page.inner_text("#truth") == "cat"
    unnamed = page.eval_on_selector_all(
      "button, input, select, img",
      """all => all.filter(e => e.tagName === "IMG" ? e.alt === null :
        !(e.labels?.length || e.textContent.trim() || e.ariaLabel)).length""",
    )
    assert unnamed == 0


def test_bad_input(case):
  _, near, _ = case
  queries = explorer.QuerySet(
    name="test", near=near, labels=np.zeros(30, int), ids=near.ids[:, 0],
    image=lambda i: None,
  )  # fmt: skip
  given = {
    "title": "t", "class_names": CLASSES, "voter": "rank", "k": 3,
    "settings": weighting.published_settings(), "memory_image": lambda i: None,
  }  # fmt: skip
  assert "no image" in explorer.render_explorer([queries], **given)
  for sets, change, problem in (
    ([], {}, "no query"),
    ([queries], {"k": RETRIEVED + 1}, "k = 25"),
    ([queries], {"voter": "best"}, "'best' is none of"),
    ([queries], {"class_names": CLASSES[:2]}, "label"),
    (
      [dataclasses.replace(queries, near=dataclasses.replace(
        near, similarities=np.full(near.labels.shape, np.nan, np.float32)))],
      {}, "nan",
    ),
  ):  # fmt: skip
    with pytest.raises(ValueError, match=problem):
      explorer.render_explorer(sets, **(given | change))
