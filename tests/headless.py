"""A headless Chromium for tests that drive pages; skips where there is none."""

import contextlib
import os
import shutil

import pytest

FLAGS = (
  "--no-sandbox",  # Containers run as root.
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
)


@contextlib.contextmanager
def chromium():
  """A playwright Browser over the installed Chromium, with a new profile."""
  sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright drives the browser"
  )
  names = ("chromium", "chromium-browser", "google-chrome")
  path = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, names)), None
  )
  if path is None:
    pytest.skip("no Chromium is installed (apt-get install chromium)")
  with sync_api.sync_playwright() as driver:
    browser = driver.chromium.launch(executable_path=path, args=list(FLAGS))
    try:
      yield browser
    finally:
      browser.close()


@contextlib.contextmanager
def page_of(browser, path, *, width=1280):
  """The page of a local file; any error or request of it fails the test."""
  context = browser.new_context(
    viewport={"width": width, "height": 900}, accept_downloads=True
  )
  page = context.new_page()
  page.set_default_timeout(180_000)
  problems = []
  page.on("pageerror", lambda error: problems.append(str(error)))
  page.on(
    "console",
    lambda said: said.type == "error" and problems.append(said.text),
  )
  page.on(
    "request",
    lambda request: (
      request.url.startswith(("file:", "data:", "blob:"))
      or problems.append(f"asked for {request.url}")
    ),
  )
  try:
    page.goto(path.as_uri())
    yield page
  finally:
    context.close()
  assert not problems
