"""What the end-to-end tests share: a Hub, a browser, and people with accounts.

By default the tests start a Hub of their own. With HUB_URL they use one that runs, as the administrator of
HUB_E2E_EMAIL and HUB_E2E_PASSWORD, or of a log-in link in HUB_E2E_LINK; tests that have to kill the Hub, to read what
it prints or to set it up are then left out, and the header says so. HEADED=1 shows the browser.
What a failed test saw is in test-results/: a picture and the HTML of each of its pages, and what the Hub printed.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, async_playwright, expect

from e2e.browser import EVERYTHING, Browse, Person, follow_link, invite, launch, log_in, make_first_admin, make_token
from e2e.hub import HubProcess
from e2e.replicas import Replicas

RESULTS = Path(__file__).resolve().parent.parent / "test-results"
ELSEWHERE = os.environ.get("HUB_URL", "").rstrip("/")
OWN = ("replicas", "strict_hub", "own_hub")  # Fixtures that are a Hub which the tests may do anything to.

expect.set_options(timeout=EVERYTHING)

_FAILED = pytest.StashKey[bool]()


def pytest_report_header() -> str | None:
    return f"end-to-end tests use {ELSEWHERE}; those that need a Hub of their own are left out" if ELSEWHERE else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if ELSEWHERE and {*OWN} & set(getattr(item, "fixturenames", ()))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or report.failed
    return report


@pytest.fixture(scope="session")
async def playwright() -> AsyncIterator[Playwright]:
    async with async_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
async def chromium(playwright: Playwright) -> AsyncIterator[Browser]:
    browser = await launch(playwright, webgl=False)
    yield browser
    await browser.close()


@pytest.fixture
async def chromium_with_webgl(playwright: Playwright) -> AsyncIterator[Browser]:
    browser = await launch(playwright)
    yield browser
    await browser.close()


@pytest.fixture(scope="session")
async def own_hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HubProcess]:
    """The Hub that the tests started."""
    hub = HubProcess(tmp_path_factory.mktemp("hub"))
    await hub.start()
    yield hub
    await hub.close()


@pytest.fixture
async def mortal_hub(own_hub: HubProcess) -> AsyncIterator[HubProcess]:
    """The same Hub, for a test that ends it: it runs again afterwards, whatever became of the test."""
    yield own_hub
    if not own_hub.running:
        await own_hub.start()


@pytest.fixture(scope="session")
async def strict_hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HubProcess]:
    """Another one, which has little patience and little room."""
    hub = HubProcess(tmp_path_factory.mktemp("strict"), HUB_IDLE_TIMEOUT="8s", HUB_WARN_BEFORE="8s", HUB_MAX_RUNS="3")
    await hub.start()
    yield hub
    await hub.close()


@pytest.fixture(scope="module")
async def replicas(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Replicas]:
    """Two replicas behind a load balancer."""
    async with Replicas(tmp_path_factory.mktemp("replicas")) as replicas:
        yield replicas


@pytest.fixture(scope="session")
def url(request: pytest.FixtureRequest) -> str:
    """The address of the Hub under test."""
    if ELSEWHERE:
        return ELSEWHERE
    hub: HubProcess = request.getfixturevalue("own_hub")
    return hub.url


@pytest.fixture
async def browse(chromium: Browser, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Browse]:
    """New browser profiles. A script error or a breach of the pages' own policy in any of them fails the test."""
    contexts: list[BrowserContext] = []
    problems: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            problems.append(message.text)

    def watch(page: Page) -> None:
        page.on("pageerror", lambda error: problems.append(f"{page.url}: {error}"))
        page.on("console", note)

    async def browse(person: Person | None = None, browser: Browser = chromium, **options: Any) -> Page:
        context = await browser.new_context(storage_state=person.state if person else None, **options)
        context.on("page", watch)
        contexts.append(context)
        return await context.new_page()

    hub: HubProcess | Replicas | None = None
    if not ELSEWHERE:
        hub = request.getfixturevalue(next((name for name in OWN if name in request.fixturenames), "own_hub"))
    yield browse
    if request.node.stash.get(_FAILED, False):
        await _save(RESULTS / re.sub(r"\W+", "-", request.node.name), contexts, hub)
    for context in contexts:
        await context.close()
    assert not problems, "\n".join(problems)


async def _save(folder: Path, contexts: list[BrowserContext], hub: HubProcess | Replicas | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, page in enumerate(page for context in contexts for page in context.pages):
        await page.screenshot(path=folder / f"page-{number}.png")
        (folder / f"page-{number}.html").write_text(await page.content())
    if hub is not None:
        (folder / "hub.log").write_text(hub.log)


@pytest.fixture(scope="session")
async def admin(url: str, chromium: Browser, playwright: Playwright, request: pytest.FixtureRequest) -> Person:
    """The administrator, who has made the first account of the Hub that the tests started."""
    page = await chromium.new_page()
    email = os.environ.get("HUB_E2E_EMAIL", "root@example.org")
    if not ELSEWHERE:
        hub: HubProcess = request.getfixturevalue("own_hub")
        await make_first_admin(page, (await hub.said(r"http://\S+/login/link/\S+"))[0], email)
    elif link := os.environ.get("HUB_E2E_LINK"):
        await follow_link(page, link)
    else:
        await log_in(page, url, email, os.environ["HUB_E2E_PASSWORD"])
    return await as_person(page, url, email, playwright)


async def as_person(page: Page, url: str, email: str, playwright: Playwright) -> Person:
    """Whoever is logged in on the page, as a person for the tests; the page is done with."""
    token = await make_token(page, url)
    state = await page.context.storage_state()
    await page.context.close()
    api = await playwright.request.new_context(base_url=url, extra_http_headers={"Authorization": f"Bearer {token}"})
    return Person(email, state, token, api)


@pytest.fixture(scope="session")
async def everybody(url: str, admin: Person, chromium: Browser, playwright: Playwright) -> dict[str, Person]:
    """Two people, whom the administrator has added and who have logged in by their links."""
    desk = await (await chromium.new_context(storage_state=admin.state)).new_page()
    people = {}
    for name in ("ada", "grace"):
        email = f"{name}-{secrets.token_hex(3)}@example.org"
        link = await invite(desk, url, email)
        page = await chromium.new_page()
        await follow_link(page, link)
        people[name] = await as_person(page, url, email, playwright)
    await desk.context.close()
    return people


@pytest.fixture
async def ada(everybody: dict[str, Person]) -> AsyncIterator[Person]:
    """Ada, with no sessions and no files."""
    yield everybody["ada"]
    await everybody["ada"].clear()


@pytest.fixture
async def grace(everybody: dict[str, Person]) -> AsyncIterator[Person]:
    """Grace, with no sessions and no files."""
    yield everybody["grace"]
    await everybody["grace"].clear()
