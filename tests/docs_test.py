"""The documentation builds, offline, and every public name has its page."""

import html.parser
import os
import pathlib
import subprocess
import sys
import urllib.parse

import pytest

import visual_memory as vm

pytest.importorskip("sphinx", reason="needs visual_memory[docs]")
ROOT = pathlib.Path(__file__).resolve().parents[1]
PLAIN = (
  "-D", "html_theme=basic", "-D", "html_theme_options.navigation_with_keys=",
)  # fmt: skip
"""Without a list of all pages on every page, which is half of the work."""
UNSTEMMED = """
import sys
from sphinx.cmd import build
from sphinx.search.en import SearchEnglish
SearchEnglish.stem = lambda self, word: word
sys.exit(build.main())
"""
"""Sphinx whose search knows no plurals: to find them is a tenth of the work."""


@pytest.fixture(
  scope="module",
  params=[PLAIN, pytest.param((), marks=pytest.mark.slow)],
  ids=["plain", "as_published"],
)
def site(request, tmp_path_factory):
  """The site, built with warnings as errors."""
  out = tmp_path_factory.mktemp("site")
  plain = request.param == PLAIN
  sphinx = ["-c", UNSTEMMED] if plain else ["-m", "sphinx"]
  command = [sys.executable, *sphinx, "-q", "-W", "--keep-going"]
  done = subprocess.run(
    [
      *command, "-b", "html", *request.param, "-d", out / "trees",
      ROOT / "docs", out / "html",
    ],
    capture_output=True,
    text=True,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    check=False,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  return out / "html"


class _Links(html.parser.HTMLParser):
  """The addresses and the anchors of a page."""

  def __init__(self):
    super().__init__()
    self.targets, self.anchors = [], set()

  def handle_starttag(self, tag, attrs):
    values = dict(attrs)
    self.anchors.add(values.get("id"))
    self.targets += [values[k] for k in ("href", "src") if values.get(k)]


def _read(path):
  links = _Links()
  links.feed(path.read_text(encoding="utf-8"))
  return links


def test_every_public_name_has_a_page(site):
  for name in vm.__all__:
    page = site / "_generated" / "reference" / f"{name}.html"
    assert f"vm.{name}" in page.read_text(encoding="utf-8"), name


def test_no_link_within_the_site_is_broken(site):
  pages = {path: _read(path) for path in site.rglob("*.html")}
  assert len(pages) > 40
  for path, links in pages.items():
    for target in links.targets:
      address = urllib.parse.urlsplit(target)
      if address.scheme or address.netloc:
        continue
      file = path
      if address.path:
        file = (path.parent / urllib.parse.unquote(address.path)).resolve()
      assert file.exists(), f"{path.name} links to {target}"
      if address.fragment and file in pages:
        anchor = urllib.parse.unquote(address.fragment)
        assert anchor in pages[file].anchors, f"{path.name}: {target}"


def test_links_of_the_readme_are_there():
  text = (ROOT / "README.md").read_text(encoding="utf-8")
  for part in text.split("](")[1:]:
    target = part.split(")")[0].split("#")[0]
    if "://" not in target:
      assert (ROOT / target).exists(), target
