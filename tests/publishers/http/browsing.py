"""A real browser."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.waiting import DEADLINE_S

AXE = Path(__file__).parents[3] / ".cache/axe/node_modules/axe-core/axe.min.js"
expect.set_options(timeout=1000 * DEADLINE_S)


def chromium() -> str:
    path = shutil.which("chromium")
    if path is None:
        assert "CI" not in os.environ, "chromium must be installed in CI"
        pytest.skip("needs chromium, of the Debian package of that name")
    return path


@contextmanager
def browser() -> Iterator[Browser]:
    path = chromium()
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"], timeout=1000 * DEADLINE_S)
        try:
            yield opened
        finally:
            opened.close()


class Watched:
    """A page whose complaints are kept."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        page.set_default_timeout(1000 * DEADLINE_S)
        self.complaints: list[str] = []
        self.asked: set[str] = set()
        page.on(
            "console", lambda message: message.type in {"error", "warning"} and self.complaints.append(message.text)
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.asked.add(request.url))
        page.goto(url)


def serious(page: Page) -> list[str]:
    """What axe-core finds that is serious."""
    if not AXE.is_file():
        assert "CI" not in os.environ, "axe-core must be installed in CI"
        pytest.skip("needs axe-core: make axe")
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run()")["violations"]
    return [
        f"{each['id']}: {each['help']}: {each['nodes'][0]['html']}"
        for each in found
        if each["impact"] in {"serious", "critical"}
    ]
