"""The served page in a real browser, and its server when it is killed."""

import contextlib
import http.client
import importlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import urllib.parse
import urllib.request

import headless
import pytest
import server_test

import visual_memory as vm
from visual_memory.cli import serving as cli_serving
from visual_memory.server.session import Session

ROOT, HOSTILE = server_test.ROOT, server_test.HOSTILE
store = server_test.store


@pytest.fixture(scope="module")
def browser():
  with headless.chromium() as found:
    yield found


@contextlib.contextmanager
def serving(store):
  """`visual-memory serve` in a process of its own; its address."""
  command = [sys.executable, "-m", "visual_memory.cli", "serve", "--json"]
  process = subprocess.Popen(
    [*command, "-s", str(store)],
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    text=True,
    env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
  )
  try:
    text = ""
    while not text.rstrip().endswith("}"):
      line = process.stdout.readline()
      assert line, "the server ended"
      text += line
    yield process, json.loads(text)["address"]
  finally:
    process.kill()
    process.wait()


def test_no_process_is_started_with_the_token(store, browser, monkeypatch):
  """What --open gives to a browser leads it to the page, and is private."""
  given = []
  monkeypatch.setattr("webbrowser.open", lambda url: given.append(url) or True)
  with server_test.served(Session(str(store))) as address:
    assert cli_serving._open(address)
    token = urllib.parse.urlsplit(address).path.strip("/")
    (url,) = given
    assert url.startswith("file:") and token not in url
    file = pathlib.Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path))
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    with contextlib.closing(browser.new_page()) as page:
      page.goto(url)
      page.wait_for_selector(".tile img")
      assert page.url.startswith(address)


@contextlib.contextmanager
def page_at(browser, address, **options):
  """A page of the server; scripts that run or requests elsewhere fail."""
  context = browser.new_context(accept_downloads=True, **options)
  page = context.new_page()
  page.set_default_timeout(180_000)
  problems = []
  page.on("pageerror", lambda error: problems.append(str(error)))
  page.on("dialog", lambda dialog: problems.append(dialog.message))
  host = urllib.parse.urlsplit(address).netloc
  page.on(
    "request",
    lambda request: (
      request.url.startswith((f"http://{host}/", "blob:", "data:"))
      or problems.append(f"asked for {request.url}")
    ),
  )
  try:
    page.goto(address)
    yield page
  finally:
    context.close()
  assert not problems


def test_a_browser_asks_edits_and_maps(store, browser, tmp_path):
  with serving(store) as (_, address):
    expect = importlib.import_module("playwright.sync_api").expect
    expect.set_options(timeout=180_000)
    with page_at(browser, address) as page:
      page.wait_for_selector(".tile img")
      assert not page.context.cookies()
      assert page.locator(".tile").count() == 12
      # A hostile class name is text.
      assert page.locator(".caption", has_text=HOSTILE).count() == 4
      page.set_input_files("#file", str(tmp_path / "photos/green/0.png"))
      page.wait_for_selector("#prediction")
      assert page.inner_text("#prediction") == "green"
      page.locator(".neighbors button", has_text="Without?").first.click()
      expect(page.locator("#without")).to_contain_text("1 row")
      # Two rows by keyboard, relabelled; one of the answer's, removed.
      page.locator(".neighbors button", has_text="Remove").first.click()
      page.click("[data-view=browse]")
      page.focus("#grid")
      page.keyboard.press("Home")
      page.keyboard.press(" ")
      page.keyboard.press("ArrowRight")
      page.keyboard.press(" ")
      page.click("#relabel-chosen")
      page.fill("#question-value", "new <b>class</b>")
      page.click("#question-ok")
      expect(page.locator("#waiting")).to_have_text("2")
      with page_at(browser, address) as other:  # Another tab sees them.
        expect(other.locator("#waiting")).to_have_text("2")
      page.click("[data-view=edits]")
      page.locator("#pending button", has_text="Undo").nth(1).click()
      expect(page.locator("#pending li")).to_have_count(1)
      page.click("#apply")
      page.wait_for_selector("#outcome .receipt")
      assert "before and" in page.inner_text("#effect")
      with page.expect_download() as download:
        page.click("#outcome .receipt")
      saved = json.loads(pathlib.Path(download.value.path()).read_text())
      page.click("[data-view=map]")
      page.wait_for_selector("#legend li")
      box = page.locator("#canvas").bounding_box()
      page.keyboard.down("Shift")
      page.mouse.move(box["x"] + 2, box["y"] + 2)
      page.mouse.down()
      for x, y in ((0.99, 0.01), (0.99, 0.99), (0.01, 0.99)):
        page.mouse.move(
          box["x"] + x * box["width"], box["y"] + y * box["height"]
        )
      page.mouse.up()
      page.keyboard.up("Shift")
      page.wait_for_selector("#among .chip")
      assert "11 rows from the map" in page.inner_text("#among")
  opened = vm.Store.open(store)
  assert len(opened) == 11
  assert json.loads(opened.receipts()[-1].to_json()) == saved
  assert opened.verify()


def test_a_narrow_page_in_the_dark_scrolls_only_down(store, browser):
  with server_test.served(Session(str(store))) as address:
    for width in (390, 2560):
      with page_at(
        browser,
        address,
        viewport={"width": width, "height": 800},
        color_scheme="dark",
      ) as page:
        page.wait_for_selector(".tile img")
        for view in ("browse", "ask", "map", "edits"):
          page.click(f"[data-view={view}]")
          wide = page.evaluate("document.documentElement.scrollWidth")
          assert wide <= width, view


def test_a_server_killed_while_it_edits_leaves_a_sound_store(store):
  """Whenever it dies, the store opens as before the edit or after it."""
  for delay_s in (0.0, 0.005, 0.02):
    before = len(vm.Store.open(store))
    with serving(store) as (process, address):
      opener = urllib.request.build_opener()
      opener.open(address).read()
      base = address

      def post(what, values, base=base, opener=opener):
        request = urllib.request.Request(
          f"{base}api/{what}",
          data=json.dumps(values).encode(),
          headers={"x-visual-memory": "1", "content-type": "application/json"},
        )
        return opener.open(request)

      ids = vm.Store.open(store).ids[:1].tolist()
      post("pending", {"kind": "remove", "ids": ids}).read()
      killer = subprocess.Popen(
        [
          sys.executable,
          "-c",
          "import os, signal, sys, time; time.sleep(float(sys.argv[2]));"
          " os.kill(int(sys.argv[1]), signal.SIGKILL)",
          str(process.pid),
          str(delay_s),
        ]
      )
      with contextlib.suppress(OSError, http.client.HTTPException):
        post("apply", {}).read()  # Cut off before, or within, the answer.
      killer.wait()
      assert process.wait() == -signal.SIGKILL
    opened = vm.Store.open(store)
    assert len(opened) in (before, before - 1)
    assert opened.verify()


@pytest.mark.slow
def test_a_hundred_thousand_rows_scroll_without_blank_tiles(browser, tmp_path):
  """A screen a second: in no frame is there a place without its picture."""
  del browser  # Skips where there is none.
  command = [sys.executable, "-m", "experiments.benchmarks.page"]
  subprocess.run(
    [
      *command,
      "--config=configs/benchmark_page.py",
      "--config.parts=('scroll',)",
      f"--workdir={tmp_path}",
    ],
    cwd=ROOT,
    check=True,
    timeout=600,
  )
  report = json.loads((tmp_path / "benchmark_page.json").read_text())
  scrolled = report["page"]["scrolled_slow"]
  assert scrolled["pixels"] > 4000
  assert scrolled["blank_tiles"] == 0
