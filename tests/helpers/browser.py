"""A real headless Chromium."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium() -> str | None:
    return os.environ.get("WEIGHTGEN_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def launched() -> Iterator[Any]:
    """A browser for as long as it is wanted; the test is skipped where there is none, or fails where one is required."""
    if not chromium():
        reason = "no Chromium here: `make test-browser` installs one, or set WEIGHTGEN_CHROMIUM=<its path>"
        pytest.fail(reason) if os.environ.get("WEIGHTGEN_REQUIRE_BROWSER") else pytest.skip(reason)
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is missing: make setup")
    with driver.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=chromium(), args=flags)
        yield browser
        browser.close()
