"""Coming in: the first administrator, passwords, links by mail, guests."""

from __future__ import annotations

import re

from playwright.async_api import Request, expect

from e2e.browser import PASSWORD, Browse, Person, Terminal, create_and_open, follow_link, log_in
from e2e.hub import HubProcess


async def test_the_link_that_made_the_first_administrator_does_not_work_again(
    own_hub: HubProcess, admin: Person, browse: Browse
) -> None:
    page = await browse(admin)
    await page.goto(own_hub.url)
    await expect(page.get_by_role("link", name="Admin")).to_be_visible()
    link = (await own_hub.said(r"http://\S+/login/link/\S+"))[0]
    stranger = await browse()
    await stranger.goto(link)
    await expect(stranger.get_by_role("heading", name="This link does not work")).to_be_visible()
    await expect(stranger.get_by_label("Password")).to_have_count(0)


async def test_a_wrong_password_is_refused_in_words_and_the_right_one_lets_in(
    own_hub: HubProcess, admin: Person, browse: Browse
) -> None:
    page = await browse()
    await page.goto(f"{own_hub.url}/files")
    await expect(page).to_have_url(re.compile("/login"))
    await log_in(page, own_hub.url, admin.email, "not this one")
    await expect(page.get_by_role("alert")).to_be_visible()
    wrong = await page.get_by_role("alert").inner_text()
    await expect(page.get_by_label("E-mail")).to_have_value(admin.email)

    await log_in(page, own_hub.url, "nobody@example.org", "not this one")
    await expect(page.get_by_role("alert")).to_have_text(wrong)  # Who has an account is not given away.

    await log_in(page, own_hub.url, admin.email, PASSWORD)
    await expect(page.get_by_role("heading", name="Sessions", exact=True)).to_be_visible()
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    await page.goto(f"{own_hub.url}/sessions")
    await expect(page.get_by_role("heading", name="Log in")).to_be_visible()


async def test_a_link_by_mail_logs_in_once(own_hub: HubProcess, ada: Person, browse: Browse) -> None:
    page = await browse()
    await page.goto(f"{own_hub.url}/login")
    await page.get_by_label("E-mail").fill(ada.email)
    before = len(own_hub.log)
    await page.get_by_role("button", name="Send me a link instead").click()
    await expect(page.get_by_role("heading", name="Check your e-mail")).to_be_visible()
    link = (await own_hub.said(rf"Mail to {re.escape(ada.email)}[\s\S]*?(http://\S+/login/link/\S+)", since=before))[1]
    await follow_link(page, link)
    await expect(page.get_by_role("link", name=ada.email)).to_be_visible()
    other = await browse()
    await other.goto(link)
    await expect(other.get_by_role("heading", name="This link does not work")).to_be_visible()


async def test_a_guest_tries_it_and_everything_goes_when_they_leave(url: str, browse: Browse) -> None:
    page = await browse()
    await page.goto(url)
    await page.get_by_role("button", name="Try it without an account").click()
    terminal = await create_and_open(page, url, "sample:penguins.csv")
    await terminal.sees("species", "Adelie")
    address = page.url
    cookies = await page.context.cookies()
    left_open = page

    page = await page.context.new_page()
    await page.goto(f"{url}/sessions")
    await page.get_by_role("link", name="Leave").click()
    await expect(page.get_by_role("heading", name="Leave and delete everything?")).to_be_visible()
    await page.get_by_role("link", name="Stay").click()
    await expect(page.locator("#sessions")).to_contain_text("penguins.csv")
    await page.get_by_role("link", name="Leave").click()
    await page.get_by_role("button", name="Leave and delete everything").click()
    await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    await expect(left_open.locator("#panel")).to_contain_text("their sessions and files are deleted")

    # Not even the guest's own cookies lead back.
    again = await browse()
    await again.context.add_cookies([{**cookie} for cookie in cookies])  # type: ignore[typeddict-item]
    await again.goto(address)
    await expect(again.get_by_role("heading", name="Log in")).to_be_visible()
    await expect(Terminal(again).state).to_have_count(0)


async def test_on_a_shared_computer_what_one_person_left_open_does_nothing_for_the_next(
    url: str, ada: Person, grace: Person, browse: Browse
) -> None:
    terminal = (await browse()).context
    first = terminal.pages[0]
    unmarked: list[str] = []

    def note(request: Request) -> None:
        asks = request.method == "PUT" or request.url.endswith("/state") or "/sessions/events" in request.url
        if (
            (asks or "hx-request" in request.headers)
            and "hub-login" not in request.headers
            and "login=" not in request.url
        ):
            unmarked.append(request.url)

    terminal.on("request", note)
    first.on("websocket", lambda socket: None if "login=" in socket.url else unmarked.append(socket.url))
    await log_in(first, url, ada.email, PASSWORD)
    await expect(first.get_by_role("heading", name="Sessions", exact=True)).to_be_visible()
    session = await create_and_open(first, url, "sample:penguins.csv")
    files, desk = await terminal.new_page(), await terminal.new_page()
    await files.goto(f"{url}/files")
    await desk.goto(f"{url}/account")

    await desk.get_by_role("button", name="Log out", exact=True).click()
    await expect(session.state).to_have_attribute("data-terminal-state", "logged-out")
    one, two = [{"name": f"{n}.csv", "mimeType": "text/csv", "buffer": b"a\n1\n"} for n in ("one", "two")]
    await files.locator("input[type=file]").set_input_files([one, two])  # type: ignore[list-item]
    await expect(files.get_by_role("alert")).to_contain_text("Your login has ended, so 2 files wait.")

    await log_in(desk, url, ada.email, PASSWORD)  # The same person goes on where she was.
    await expect(desk.get_by_role("heading", name="Sessions", exact=True)).to_be_visible()
    await files.get_by_role("button", name="Continue").click()
    await expect(files.locator("#files")).to_contain_text("two.csv")

    await desk.get_by_role("button", name="Log out", exact=True).click()
    await expect(desk.get_by_role("heading", name="Log in")).to_be_visible()
    await log_in(desk, url, grace.email, PASSWORD)
    await expect(desk.get_by_role("link", name=grace.email)).to_be_visible()
    await files.locator("input[type=file]").set_input_files([one, two])  # type: ignore[list-item]
    for line in await files.locator(".uploading.failed").all():
        await expect(line).to_contain_text(f"{grace.email} is logged in now")
    await expect(files.locator(".uploading.failed")).to_have_count(2)
    assert await (await grace.api.get("/api/v1/files/")).json() == []
    assert unmarked == []


async def test_a_terminal_that_a_proxy_does_not_let_through_says_so(url: str, ada: Person, browse: Browse) -> None:
    session_id = await ada.create(source={"sample": "penguins.csv"})
    page = await browse(ada)
    await page.route_web_socket("**/tty*", lambda socket: socket.close(code=1006))
    await page.goto(f"{url}/sessions/{session_id}")
    await expect(page.get_by_role("heading", name="The terminal does not get through")).to_be_visible()
    await expect(page.locator("#panel-text")).to_contain_text("A proxy in between")
