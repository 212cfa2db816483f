"""Takes pictures of the served page: every view, three widths, light and dark.

  python -m docs.screenshots MEMORY PICTURE OUT [VIEW_WIDTH_SCHEME ...]

MEMORY is a store, PICTURE an image to ask about. Some of the pictures are in
docs/_static (browse_1280_light, ask_1280_light, map_1280_dark).
"""

import pathlib
import shutil
import sys

from experiments.benchmarks.page import served

WIDTHS = {390: 844, 1280: 800, 2560: 1440}
SCHEMES = ("light", "dark")
VIEWS = ("browse", "row", "ask", "map", "error", "edits")


def main(memory: str, picture: str, out: str, *wanted: str) -> None:
  """Writes OUT/VIEW_WIDTH_SCHEME.png."""
  from playwright.sync_api import sync_playwright

  folder = pathlib.Path(out)
  folder.mkdir(parents=True, exist_ok=True)
  with served(memory) as address, sync_playwright() as driver:
    browser = driver.chromium.launch(
      executable_path=shutil.which("chromium"), args=["--no-sandbox"]
    )
    for width, height in WIDTHS.items():
      for scheme in SCHEMES:
        page = browser.new_page(
          viewport={"width": width, "height": height}, color_scheme=scheme
        )
        page.set_default_timeout(300_000)
        page.goto(address)
        page.wait_for_selector(".tile img")
        for view in VIEWS:
          name = f"{view}_{width}_{scheme}"
          if not wanted or name in wanted:
            show(page, view, picture)
            page.wait_for_timeout(600)
            page.screenshot(path=folder / f"{name}.png")
            if view == "row":
              page.keyboard.press("Escape")
        page.close()
    browser.close()


def show(page, view: str, picture: str) -> None:
  """Brings a view to the state that is worth a picture."""
  page.click(
    f"[data-view={ {'row': 'browse', 'error': 'map'}.get(view, view) }]"
  )
  if view == "row":
    page.locator(".tile").nth(3).click()
    page.wait_for_selector("#row .strip img")
  elif view == "ask":
    page.set_input_files("#file", picture)
    page.wait_for_selector("#prediction")
  elif view in ("map", "error"):
    page.wait_for_selector("#legend li")
    page.select_option("#color", "class" if view == "map" else "error")
  elif view == "edits" and not page.locator("#pending li").count():
    page.click("[data-view=ask]")
    if page.locator(".neighbors li").count():
      page.locator(".neighbors button", has_text="Remove").first.click()
    page.click("[data-view=edits]")


if __name__ == "__main__":
  main(*sys.argv[1:])
