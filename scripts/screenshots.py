"""Takes pictures of pages for the documents:

    .venv/bin/python scripts/screenshots.py report-run-desktop=runs/…/report.html report-run-phone=runs/…/report.html
    .venv/bin/python scripts/screenshots.py "dashboard=runs.html#x=epoch"

writes docs/figures/<name>.png, the top of each page: at the width of a phone if the name ends with -phone, else at that of a
desktop. What follows # is the state of the page. Needs Chromium (Debian: apt install chromium).
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

DESKTOP, PHONE = (1280, 1600, 1), (390, 1700, 2)
"""width and height in CSS pixels, and device pixels for each"""


def main() -> int:
    """Take all pictures. Returns the exit code."""
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    if browser_path is None or not sys.argv[1:] or any("=" not in argument for argument in sys.argv[1:]):
        print(__doc__, file=sys.stderr)
        return 2
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for argument in sys.argv[1:]:
            name, _, address = argument.partition("=")
            file, _, state = address.partition("#")
            width, height, scale = PHONE if name.endswith("-phone") else DESKTOP
            page = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=scale)
            page.goto(f"{Path(file).resolve().as_uri()}#{state}")
            page.wait_for_load_state("networkidle")
            target = Path("docs/figures") / f"{name}.png"
            page.screenshot(path=target)
            page.close()
            print(target)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
