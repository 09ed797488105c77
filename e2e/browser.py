"""What people do in the browser, for the tests to say in few words: log in, create, read the terminal, press keys.

Waits are the browser's own: for what shows on the page or on the terminal, never for time to pass.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.async_api import APIRequestContext, Browser, Locator, Page, Playwright, StorageState, expect
from playwright.async_api import TimeoutError as PlaywrightTimeout

PASSWORD = "two fat geese fly low"
Browse = Callable[..., Awaitable[Page]]
"""browse(person=None, **options of Browser.new_context) -> a page in a browser profile of its own."""

PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
EVERYTHING = 30_000  # Milliseconds in which what is waited for must show, on a machine that is busy.


@dataclass
class Person:
    """Somebody with an account, logged in: `state` is their browser's cookies, `api` speaks for them by their token."""

    email: str
    state: StorageState
    token: str
    api: APIRequestContext

    async def create(self, **body: object) -> str:
        """Make a session and wait until it runs; its id."""
        answer = await self.api.post("/api/v1/sessions", data=body)
        assert answer.status == 201, await answer.text()
        session_id: str = (await answer.json())["id"]
        await self.reaches(session_id, "running")
        return session_id

    async def reaches(self, session_id: str, state: str) -> None:
        answer = await self.api.get(f"/api/v1/sessions/{session_id}?wait={state}&timeout=20")
        found = await answer.json()
        assert found["state"] == state, found

    async def clear(self) -> None:
        """Delete all their sessions and the files of their home."""
        for session in await (await self.api.get("/api/v1/sessions")).json():
            await self.api.delete(f"/api/v1/sessions/{session['id']}")
        for entry in await (await self.api.get("/api/v1/files/")).json():
            if entry["kind"] == "file":
                deleted = await self.api.delete(f"/api/v1/files/{quote(entry['path'])}")
                assert deleted.ok, entry


async def launch(playwright: Playwright, *, webgl: bool = True) -> Browser:
    """Chromium of this machine (HUB_CHROMIUM or PATH), headless unless HEADED=1.

    Without WebGL a page costs a third less: a machine without a graphics card plays one in software.
    """
    path = os.environ.get("HUB_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    assert path, "These tests need Chromium: `make test` installs it, or HUB_CHROMIUM names one."
    options = ["--disable-background-networking", "--disable-gpu"]
    if not webgl:
        options.append("--disable-3d-apis")
    if os.geteuid() == 0:
        options.append("--no-sandbox")  # Chromium refuses to sandbox for root.
    return await playwright.chromium.launch(
        executable_path=path, headless=os.environ.get("HEADED") != "1", args=options
    )


class Terminal:
    """The terminal on a session's page, as a person sees it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.state = page.locator("#terminal")

    async def is_connected(self, within: float = EVERYTHING) -> None:
        await expect(self.state).to_have_attribute("data-terminal-state", "connected", timeout=within)

    async def sees(self, *texts: str, but_not: str | None = None, in_order: bool = False) -> list[str]:
        """Wait until all the texts (and not `but_not`) are on the screen, from top to bottom if `in_order`; its lines."""
        seen = await self.page.evaluate(_LOOK, [texts, but_not, in_order, EVERYTHING])
        assert seen["found"], f"Not all of {texts} on the screen{f', or {but_not}' if but_not else ''}:\n" + "\n".join(
            seen["lines"]
        )
        lines: list[str] = seen["lines"]
        return lines

    async def watch(self) -> None:
        """Note down from now on when it is not connected, and which keys the page says it has not sent."""
        await self.page.evaluate(_WATCH)

    async def absences(self) -> list[float]:
        """How long each time that it was not connected took until it was again, in seconds."""
        found: list[float] = await self.page.evaluate("watched.absences")
        return found

    async def keys(self) -> tuple[str, str]:
        """Of the keys that were pressed: those that the page has sent, and those that it said it has not."""
        keys = await self.page.evaluate("watched.keys")
        return "".join(key for key, sent in keys if sent), "".join(key for key, sent in keys if not sent)

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.page.keyboard.press(key)

    async def type(self, text: str) -> None:
        await self.page.keyboard.type(text)


async def penguins(browse: Browse, person: Person, url: str, **options: Any) -> Terminal:
    """A new session on the penguins, in a browser profile of its own; `options` as `Browser.new_context` has them."""
    page = await browse(person, **options)
    terminal = await create_and_open(page, url, "sample:penguins.csv")
    await terminal.sees("Adelie")
    return terminal


async def set_clipboard(page: Page, text: str) -> None:
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.evaluate("(text) => navigator.clipboard.writeText(text)", text)


async def get_clipboard(page: Page) -> str:
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    text: str = await page.evaluate("navigator.clipboard.readText()")
    return text


def note_sent(page: Page) -> list[bytes]:
    """What the page's terminal sends as keys from its next connection on, message by message, as it is sent."""
    sent: list[bytes] = []

    def note(payload: str | bytes) -> None:
        if isinstance(payload, bytes):
            sent.append(payload)

    page.on("websocket", lambda socket: socket.on("framesent", note))
    return sent


async def until_sent(sent: list[bytes], holds: Callable[[list[bytes]], bool]) -> None:
    """Wait until it holds of what `note_sent` gives."""
    try:
        async with asyncio.timeout(EVERYTHING / 1000):
            while not holds(sent):
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"this was sent, and not more: {sent}") from None


async def until(page: Page, condition: str) -> None:
    """Wait until a JavaScript expression is true on the page. (Playwright's own way breaks the pages' policy.)"""
    found = await page.evaluate(
        f"""(within) => new Promise((answer) => {{
          const until = performance.now() + within;
          const look = () => {condition} ? answer(true) : performance.now() > until ? answer(false) : setTimeout(look, 5);
          look();
        }})""",
        EVERYTHING,
    )
    assert found, f"It never came to this: {condition}"


_WATCH = """() => {
  const terminal = document.getElementById("terminal");
  const watched = (window.watched = { absences: [], keys: [] });
  let since = null;
  new MutationObserver(() => {
    const connected = terminal.dataset.terminalState === "connected";
    if (!connected) since ??= performance.now();
    else if (since !== null) {
      watched.absences.push((performance.now() - since) / 1000);
      since = null;
    }
  }).observe(terminal, { attributeFilter: ["data-terminal-state"] });
  addEventListener("keydown", (event) => watched.keys.push([event.key, true]), { capture: true });
  new MutationObserver((changes) => {
    for (const node of changes.flatMap((change) => [...change.addedNodes])) {
      if (node.textContent.includes("that key was not sent")) watched.keys.at(-1)[1] = false;
    }
  }).observe(document.getElementById("toasts"), { childList: true });
}"""


_LOOK = """([texts, butNot, inOrder, within]) => new Promise((answer) => {
  const until = performance.now() + within;
  const look = () => {
    const lines = document.getElementById("terminal")?.hubScreen?.() ?? [];
    const all = lines.join("\\n");
    let from = 0;
    const isThere = (text) => {
      const at = all.indexOf(text, from);
      if (inOrder && at >= 0) from = at + text.length;
      return at >= 0;
    };
    const found = texts.every(isThere) && !(butNot && all.includes(butNot));
    if (found || performance.now() > until) answer({ found, lines });
    else setTimeout(look, 20);
  };
  look();
})"""


async def make_first_admin(page: Page, link: str, email: str) -> None:
    """Follow the one-time link of a new Hub and make the account."""
    await page.goto(link)
    await expect(page.get_by_role("heading", name="The first administrator")).to_be_visible()
    await page.get_by_label("E-mail").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Make the account and log in").click()
    await expect(page.get_by_role("heading", name="Sessions", exact=True)).to_be_visible()


async def drag_in(page: Page, file: Path, *, drop: bool = True) -> None:
    """What Chromium does when a file is dragged over the page from elsewhere, and let go."""
    devtools = await page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop") if drop else ("dragEnter", "dragOver"):
        await devtools.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 300, "data": data})


async def log_in(page: Page, url: str, email: str, password: str) -> None:
    await page.goto(f"{url}/login")
    await page.get_by_label("E-mail").fill(email)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Log in", exact=True).click()


async def follow_link(page: Page, link: str) -> None:
    """Open a log-in link and use it; an invited person chooses a password."""
    await page.goto(link)
    await expect(page.get_by_role("heading", name=re.compile("Log in|Choose a password"))).to_be_visible()
    if await page.get_by_label("Password").count():
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Set it and log in").click()
    else:
        await page.get_by_role("button", name="Log in", exact=True).click()
    await expect(page.get_by_role("heading", name="Sessions", exact=True)).to_be_visible()


async def invite(page: Page, url: str, email: str) -> str:
    """As an administrator, make an account; the link that logs it in once."""
    await page.goto(f"{url}/admin")
    await page.get_by_label("Add a person").fill(email)
    await page.get_by_role("button", name="Add and make a link").click()
    return await page.locator("code.token").inner_text()


async def make_token(page: Page, url: str) -> str:
    await page.goto(f"{url}/account")
    await page.get_by_label("What it is for").fill("end-to-end tests")
    await page.get_by_role("button", name="Make a token").click()
    return await page.locator("code.token").inner_text()


def row(page: Page, name: str) -> Locator:
    """A session's row in the list."""
    return page.locator("#sessions tbody tr").filter(has_text=name)


async def tap(target: Locator) -> None:
    """Tap it as a finger does. Where the page is slow to answer, Playwright's rests for so long that it is no tap: again."""
    page = target.page
    for _ in range(3):
        await target.evaluate(
            """(one) => {
              window.tapped = false;
              one.addEventListener("click", () => (window.tapped = true), { once: true, capture: true });
            }"""
        )
        await target.tap()
        with suppress(PlaywrightTimeout):
            await page.wait_for_function("window.tapped !== false", timeout=5000)  # Another page knows nothing of it.
            return
    raise AssertionError(f"{target} cannot be tapped")


async def create_and_open(page: Page, url: str, source: str, name: str = "") -> Terminal:
    """On the sessions page, choose what to open and press the button; the terminal, connected."""
    await page.goto(f"{url}/sessions")
    await page.locator("select[name=source]").select_option(source)
    await page.get_by_label("Name optional").fill(name)
    await page.get_by_role("button", name="Create and open").click()
    terminal = Terminal(page)
    await terminal.is_connected()
    return terminal
