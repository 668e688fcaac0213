"""A real browser for the tests of the dashboard's page.

Needs Debian's chromium. Where it is missing these tests are skipped, except in CI, where they fail.
"""

import os
import shutil

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.helpers.running import PATIENCE_SEC

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(
    CHROMIUM is None and os.environ.get("CI") != "true", reason="no browser; on Debian: apt install chromium"
)
BROWSER_TESTS = [needs_browser, pytest.mark.xdist_group("browser")]

expect.set_options(timeout=PATIENCE_SEC * 1000)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
                  "--disable-background-networking", "--disable-component-update"],
        )  # fmt: skip
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    """A page that fails the test for every complaint in its console and every request to another host."""
    context = browser.new_context()
    page = context.new_page()
    page.complaints = []
    page.hosts = set()
    page.on("console", lambda message: message.type in ("error", "warning") and page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", lambda request: page.hosts.add(request.url.split("/")[2]))
    yield page
    assert page.complaints == []
    assert len(page.hosts) == 1
    context.close()


@pytest.fixture
def open_page(page):
    """Opens a server's page; when this returns, the page shows the server's figures."""

    def open_it(server):
        page.goto(f"http://127.0.0.1:{server.dashboard_port}/")
        expect(page.locator("#total")).not_to_have_text("\u2013")
        return page

    return open_it
