"""Debian's chromium without a window, for pages that are looked at in a real browser."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # a test that needs no browser runs without selenium
    from selenium.webdriver import Chrome


def start(profile: Path | None = None, downloads: Path | None = None) -> "Chrome":
    """A browser, or a skip that says what is missing.

    Args:
        profile: Folder of what it keeps between two starts; nothing is kept by default.
        downloads: Folder for files that a page saves.
    """
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.skip("chromium and chromedriver are not installed: apt install chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--window-size=1366,900"):
        options.add_argument(argument)
    if profile is not None:
        options.add_argument(f"--user-data-dir={profile}")
    if downloads is not None:
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver: Chrome = webdriver.Chrome(options, webdriver.ChromeService(chromedriver))
    return driver
