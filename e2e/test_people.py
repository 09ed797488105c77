"""Coming in: the first administrator, passwords, links by mail, guests."""

from __future__ import annotations

import re

from playwright.async_api import expect

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
    await expect(page.get_by_role("heading", name="Look into your mail")).to_be_visible()
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

    await page.get_by_role("link", name="Sessions").first.click()
    await page.get_by_role("link", name="Leave").click()
    await expect(page.get_by_role("heading", name="Leave and delete everything?")).to_be_visible()
    await page.get_by_role("link", name="Stay").click()
    await expect(page.locator("#sessions")).to_contain_text("penguins.csv")
    await page.get_by_role("link", name="Leave").click()
    await page.get_by_role("button", name="Leave and delete everything").click()
    await expect(page.get_by_role("heading", name="Log in")).to_be_visible()

    # Not even the guest's own cookies lead back.
    again = await browse()
    await again.context.add_cookies([{**cookie} for cookie in cookies])  # type: ignore[typeddict-item]
    await again.goto(address)
    await expect(again.get_by_role("heading", name="Log in")).to_be_visible()
    await expect(Terminal(again).state).to_have_count(0)
