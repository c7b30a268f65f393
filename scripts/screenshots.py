"""Takes pictures of report pages for the documents, at the width of a desktop and of a phone:

    .venv/bin/python scripts/screenshots.py run=runs/…/report.html study=runs/studies/quick/report.html

writes docs/figures/report-<name>-{desktop,phone}.png, the top of each page. Needs Chromium (Debian: apt install chromium).
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

WIDTHS = {"desktop": (1280, 1), "phone": (390, 2)}
"""name: (CSS pixels, device pixels for each)"""
HEIGHTS = {"desktop": 1600, "phone": 1700}
"""height of the picture in CSS pixels"""


def main() -> int:
    """Take all pictures. Returns the exit code."""
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    if browser_path is None or not sys.argv[1:] or any("=" not in argument for argument in sys.argv[1:]):
        print(__doc__, file=sys.stderr)
        return 2
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for argument in sys.argv[1:]:
            name, _, file = argument.partition("=")
            for size, (width, scale) in WIDTHS.items():
                page = browser.new_page(viewport={"width": width, "height": HEIGHTS[size]}, device_scale_factor=scale)
                page.goto(Path(file).resolve().as_uri())
                target = Path("docs/figures") / f"report-{name}-{size}.png"
                page.screenshot(path=target)
                page.close()
                print(target)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
