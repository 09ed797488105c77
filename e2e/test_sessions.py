"""The page of one's sessions: create, rename, stop, delete, live in every tab, by keyboard, on a phone, without scripts."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Locator, Page, Route, expect

from e2e.browser import EVERYTHING, PASSWORD, Browse, Person, Terminal, create_and_open, log_in, row, tap

COLUMNS = ("species", "island", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "sex", "year")


async def test_a_session_on_a_sample_shows_its_columns_and_the_frequency_table(
    url: str, ada: Person, browse: Browse
) -> None:
    page = await browse(ada)
    await page.goto(url)
    await expect(page.get_by_role("heading", name="No sessions yet")).to_be_visible()
    terminal = await create_and_open(page, url, "sample:penguins.csv", "Birds")
    await expect(page).to_have_title(re.compile("Birds"))
    await terminal.sees(*COLUMNS, "344 rows")
    await terminal.press("ArrowRight", "Shift+F")  # From species to island, and its frequency table.
    lines = await terminal.sees("island_freq", "Biscoe", "Dream", "Torgersen", "168")
    assert not any("bill_depth_mm" in line for line in lines)


async def test_what_is_typed_goes_into_visidata(url: str, ada: Person, browse: Browse) -> None:
    page = await browse(ada)
    terminal = await create_and_open(page, url, "sample:penguins.csv")
    await terminal.sees("Adelie")
    await terminal.press("/")
    await terminal.type("Gentoo")
    await terminal.sees("search regex: Gentoo")
    await terminal.press("Enter")  # Finds the first one.
    await terminal.sees("Gentoo", but_not="search regex")
    await terminal.press("Enter")  # Opens its row.
    await terminal.sees("penguins[152]", "Gentoo", "Biscoe")


async def test_rename_stop_and_delete_ask_in_a_dialog_and_escape_leaves_all_as_it_was(
    url: str, ada: Person, browse: Browse
) -> None:
    session_id = await ada.create(name="First", source={"sample": "penguins.csv"})
    page = await browse(ada)
    await page.goto(f"{url}/sessions")
    dialog = page.get_by_role("dialog")
    await page.evaluate(f"fetch('/sessions/{session_id}/stay', {{ method: 'POST' }})")  # Counts as use.
    await page.reload()
    await expect(row(page, "First").locator("time").first).to_have_text("just now")
    await page.get_by_role("button", name="Stop First").click()
    await expect(dialog.get_by_role("link", name="Keep it running")).to_be_focused()
    await expect(dialog).to_contain_text("changes that you have not saved are lost")
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    await expect(row(page, "First")).to_contain_text("Running")
    await page.get_by_role("link", name="Rename First").click()
    await expect(dialog.get_by_label("New name")).to_be_focused()
    await dialog.get_by_label("New name").fill("   ")
    await dialog.get_by_role("button", name="Rename").click()
    await expect(dialog.get_by_role("alert")).to_have_text("Give the session a name.")
    await dialog.get_by_label("New name").fill("Second <b>")
    await page.keyboard.press("Enter")
    await expect(dialog).to_be_hidden()
    await expect(row(page, "Second <b>")).to_be_visible()

    await page.get_by_role("link", name="Delete Second").click()
    await expect(dialog).to_contain_text("VisiData ends, and what you have not saved there is lost")
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    await expect(row(page, "Second <b>")).to_contain_text("Running")

    await page.get_by_role("link", name="Delete Second").click()
    await expect(dialog.get_by_role("link", name="Keep it")).to_be_focused()  # Enter by mistake deletes nothing.
    await dialog.get_by_role("button", name="Delete").click()
    await expect(dialog).to_be_hidden()
    await expect(page.get_by_role("heading", name="No sessions yet")).to_be_visible()
    assert await (await ada.api.get("/api/v1/sessions")).json() == []


async def test_a_list_that_changes_while_a_question_closes_leaves_no_empty_question(
    url: str, ada: Person, browse: Browse
) -> None:
    await ada.create(name="First", source={"sample": "penguins.csv"})
    page = await browse(ada)
    await page.goto(f"{url}/sessions")
    dialog = page.get_by_role("dialog")
    await page.get_by_role("link", name="Delete First").click()
    await expect(dialog.get_by_role("link", name="Keep it")).to_be_focused()
    # The list comes in the very moment in which the question is closed, before the browser says that it is.
    await page.evaluate(
        """() => {
          const [dialog, list] = ["dialog", "sessions"].map((id) => document.getElementById(id));
          dialog.addEventListener("close", () => (document.body.dataset.closed = ""), { once: true });
          dialog.close();
          for (const event of ["htmx:after:swap", "htmx:after:settle"])
            list.dispatchEvent(new CustomEvent(event, { bubbles: true, detail: {} }));
        }"""
    )
    await expect(page.locator("body[data-closed]")).to_be_attached()
    await expect(dialog).to_be_hidden()
    # One who asks again at once is asked, and what they are asked stays.
    await page.evaluate(
        """() => {
          const dialog = document.getElementById("dialog");
          dialog.addEventListener("close", () => (document.body.dataset.closed = "twice"), { once: true });
          dialog.showModal();
          dialog.close();
          dialog.replaceChildren(Object.assign(document.createElement("p"), { textContent: "Really?" }));
          dialog.dispatchEvent(new CustomEvent("htmx:after:settle", { bubbles: true, detail: {} }));
        }"""
    )
    await expect(page.locator("body[data-closed=twice]")).to_be_attached()
    await expect(dialog).to_have_text("Really?")


async def alone(browse: Browse, person: Person) -> Page:
    """A page whose browser has no shared workers, so that it has its own stream, which a test can reach."""
    page = await browse(person)
    await page.add_init_script("delete window.SharedWorker")
    return page


@pytest.mark.parametrize("failure", ["the connection breaks", "an error is the answer"])
async def test_a_list_that_is_not_live_says_so_and_becomes_it(
    url: str, ada: Person, browse: Browse, failure: str
) -> None:
    page = await alone(browse, ada)

    async def fails(route: Route) -> None:
        await (route.abort() if failure == "the connection breaks" else route.fulfill(status=503, body="No."))

    await page.route("**/sessions/events*", fails)
    await page.goto(f"{url}/sessions")
    offline = page.get_by_text("This list is not live")
    await expect(offline).to_be_visible()
    await expect(page.locator("#notices")).to_have_text("")  # Nothing that the person did has failed.
    await expect(page.get_by_role("heading", name="No sessions yet")).to_be_visible()
    await page.unroute("**/sessions/events*")
    await expect(page.locator("#offline")).to_be_hidden(timeout=EVERYTHING)
    await ada.create(name="First", source={"sample": "penguins.csv"})
    await expect(row(page, "First")).to_contain_text("Running")


async def test_a_list_that_may_not_be_live_says_so_and_is_refreshed(url: str, ada: Person, browse: Browse) -> None:
    page = await alone(browse, ada)
    problem = {"detail": "You have 8 live lists open in other browsers."}
    full = {"status": 429, "headers": {"Retry-After": "60"}, "json": problem}
    await page.route("**/sessions/events*", lambda route: route.fulfill(**full))
    await ada.create(name="First", source={"sample": "penguins.csv"})
    await page.goto(f"{url}/sessions")
    await expect(page.get_by_text("You have 8 live lists open")).to_be_visible()
    await expect(row(page, "First")).to_contain_text("Running")
    async with page.expect_response(lambda answer: answer.url == f"{url}/sessions"):
        await ada.create(name="Second", source={"sample": "penguins.csv"})
    await expect(row(page, "Second")).to_contain_text("Running")


async def test_a_list_whose_login_has_ended_leads_to_the_login(url: str, ada: Person, browse: Browse) -> None:
    page = await alone(browse, ada)

    async def ends(route: Route) -> None:
        await page.context.clear_cookies()
        await route.fulfill(content_type="text/event-stream", body="data: <p>The last list</p>\n\n")

    await page.route("**/sessions/events*", ends, times=1)
    await page.goto(f"{url}/sessions")
    await expect(page).to_have_url(re.compile("/login"), timeout=EVERYTHING)


async def test_any_number_of_visible_lists_leaves_room_for_further_pages(url: str, ada: Person, browse: Browse) -> None:
    """A browser has six connections to a site without TLS, and a stream keeps one."""
    first = await browse(ada)
    pages = [first, *[await first.context.new_page() for _ in range(6)]]
    for page in pages:
        await page.goto(f"{url}/sessions")
        assert await page.evaluate("document.visibilityState") == "visible"
    await ada.create(name="First", source={"sample": "penguins.csv"})
    for page in pages:
        await expect(row(page, "First")).to_contain_text("Running")
    await first.close()  # That the first is gone leaves the others live.
    await pages[1].goto(f"{url}/account")
    await expect(pages[1].get_by_role("heading", name="API tokens")).to_be_visible()
    await ada.create(name="Second", source={"sample": "penguins.csv"})
    for page in pages[2:]:
        await expect(row(page, "Second")).to_contain_text("Running")


async def test_a_request_that_comes_too_early_is_sent_again_and_its_notice_is_in_view(
    url: str, ada: Person, browse: Browse
) -> None:
    session_id = await ada.create(name="First", source={"sample": "penguins.csv"})
    page = await browse(ada, viewport={"width": 1000, "height": 420})
    await page.goto(f"{url}/sessions")
    await row(page, "First").scroll_into_view_if_needed()
    await page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    assert await page.evaluate("scrollY") > 100
    problem = {"status": 429, "headers": {"Retry-After": "1"}, "body": "<p>Too many requests.</p>"}
    await page.route(f"**/sessions/{session_id}/stop", lambda route: route.fulfill(**problem), times=1)
    await page.get_by_role("button", name="Stop First").click()
    notice = page.locator("#notices")
    await expect(notice).to_have_text("Too many requests. Trying again in 1 second.")
    await expect(notice).to_be_in_viewport(ratio=1)
    await expect(notice).to_contain_text("“First” is stopping.")
    await expect(notice).to_be_in_viewport(ratio=1)
    await expect(row(page, "First")).to_contain_text("Stopped")


async def test_a_terminal_page_waits_where_the_hub_has_had_too_many_requests(
    url: str, ada: Person, browse: Browse
) -> None:
    session_id = await ada.create(name="First", source={"sample": "penguins.csv"})
    await ada.api.post(f"/api/v1/sessions/{session_id}/stop")
    await ada.reaches(session_id, "stopped")
    page = await browse(ada)
    await page.goto(f"{url}/sessions/{session_id}")
    problem = {"status": 429, "headers": {"Retry-After": "2"}, "json": {"detail": "Too many requests."}}
    for path in ("start", "state*"):
        await page.route(f"**/sessions/{session_id}/{path}", lambda route: route.fulfill(**problem), times=1)
    await page.get_by_role("button", name="Start again").click()
    await expect(page.locator("#toasts")).to_contain_text("Too many requests. Trying again in 2 seconds.")
    await expect(page.locator("#status")).to_contain_text("Too many requests: asking again")
    await Terminal(page).is_connected()


async def test_a_change_in_one_tab_shows_in_the_other(url: str, ada: Person, browse: Browse) -> None:
    here = await browse(ada)
    there = await here.context.new_page()
    await here.goto(f"{url}/sessions")
    await there.goto(f"{url}/sessions")
    await here.locator("select[name=source]").select_option("sample:penguins.csv")
    await here.get_by_label("Name optional").fill("Shared")
    await here.get_by_role("button", name="Create", exact=True).click()
    await expect(row(there, "Shared")).to_contain_text("Running")
    await row(there, "Shared").get_by_role("button", name="Stop Shared").click()
    await expect(row(here, "Shared")).to_contain_text("Stopped")
    await expect(row(here, "Shared")).to_contain_text("You stopped it.")
    await row(here, "Shared").get_by_role("button", name="Start Shared").click()
    await expect(row(there, "Shared")).to_contain_text("Running")
    assert len(here.context.pages) == 2  # Nothing was opened, and nothing was loaded anew:
    assert await here.evaluate("performance.getEntriesByType('navigation').length") == 1


async def test_a_form_that_is_sent_twice_makes_one_session(url: str, ada: Person, browse: Browse) -> None:
    page = await browse(ada, java_script_enabled=False)
    await page.goto(f"{url}/sessions")
    await page.get_by_label("Name optional").fill("Once")
    await page.get_by_role("button", name="Create", exact=True).dblclick()
    await expect(row(page, "Once")).to_be_visible()
    assert len(await (await ada.api.get("/api/v1/sessions")).json()) == 1


async def test_all_but_the_terminal_works_without_javascript(
    url: str, admin: Person, ada: Person, browse: Browse
) -> None:
    page = await browse(ada, java_script_enabled=False)
    await page.goto(f"{url}/sessions")
    await page.locator("select[name=source]").select_option("sample:penguins.csv")
    await page.get_by_label("Name optional").fill("Plain")
    await page.get_by_role("button", name="Create", exact=True).click()
    await expect(page.locator("#notices")).to_contain_text("“Plain” is starting.")
    session_id = (await (await ada.api.get("/api/v1/sessions")).json())[0]["id"]
    await ada.reaches(session_id, "running")
    await page.get_by_role("link", name="Refresh").click()
    await expect(row(page, "Plain")).to_contain_text("Running")

    await page.get_by_role("link", name="Open Plain").click()
    await expect(page.get_by_role("heading", name="The terminal needs JavaScript")).to_be_visible()
    await page.get_by_role("link", name="Back to your sessions").last.click()

    await page.get_by_role("link", name="Rename Plain").click()
    await page.get_by_label("New name").fill("Simple")
    await page.get_by_role("button", name="Rename").click()
    await expect(row(page, "Simple")).to_be_visible()

    await page.get_by_role("button", name="Stop Simple").click()
    await ada.reaches(session_id, "stopped")
    await page.get_by_role("link", name="Refresh").click()
    await expect(row(page, "Simple")).to_contain_text("You stopped it.")

    await page.get_by_role("link", name="Delete Simple").click()
    await page.get_by_role("button", name="Delete").click()
    await expect(page.locator("#notices")).to_contain_text("“Simple” is deleted.")
    await expect(page.get_by_role("heading", name="No sessions yet")).to_be_visible()

    await page.get_by_role("link", name="Files", exact=True).click()
    await page.locator("input[type=file]").set_input_files(
        {"name": "plain.csv", "mimeType": "text/csv", "buffer": b"a,b\n1,2\n"}
    )
    await page.get_by_role("button", name="Upload", exact=True).click()
    await expect(page.locator("#files")).to_contain_text("plain.csv")
    async with page.expect_download() as coming:
        await page.get_by_role("link", name="Download plain.csv").click()
    assert (await (await coming.value).path()).read_bytes() == b"a,b\n1,2\n"
    await page.get_by_role("link", name="Delete plain.csv").click()
    await page.get_by_role("button", name="Delete").click()
    await expect(page.get_by_role("heading", name="No files yet")).to_be_visible()


async def test_everything_is_reached_by_keyboard_alone(url: str, ada: Person, browse: Browse) -> None:
    page = await browse(ada)
    await page.goto(f"{url}/sessions")
    await _tab_to(page, page.locator("select[name=source]"))
    await page.keyboard.type("Palmer")
    await _tab_to(page, page.get_by_label("Name optional"))
    await page.keyboard.type("Keys")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    terminal = Terminal(page)
    await terminal.is_connected()
    await terminal.sees("species")
    await terminal.press("Shift+F")  # The terminal has the focus without a click.
    await terminal.sees("species_freq")

    await page.goto(f"{url}/sessions")
    await _tab_to(page, page.get_by_role("link", name="Open Keys"))
    await page.keyboard.press("Enter")
    await terminal.is_connected()
    await terminal.sees("species_freq")

    await page.goto(f"{url}/sessions")
    await _tab_to(page, page.get_by_role("link", name="Delete Keys"))
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog")).to_be_visible()
    await _tab_to(page, page.get_by_role("dialog").get_by_role("button", name="Delete"))
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="No sessions yet")).to_be_visible()


async def _tab_to(page: Page, wanted: Locator) -> None:
    for _ in range(40):
        await page.keyboard.press("Tab")
        if await wanted.evaluate("(element) => element === document.activeElement"):
            return
    raise AssertionError(f"Tab does not lead to {wanted}.")


async def test_on_a_phone_nothing_is_cut_off_and_buttons_are_for_fingers(url: str, ada: Person, browse: Browse) -> None:
    await ada.create(name="A name as long as some people like their names to be", source={"sample": "penguins.csv"})
    await ada.api.put("/api/v1/files/a-file-with-a-rather-long-name-2024-01-31-final-version.csv", data=b"a,b\n1,2\n")
    page = await browse(ada, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    for path in ("/sessions", "/files", "/account", "/nowhere"):
        await page.goto(url + path)
        assert await page.evaluate("document.scrollingElement.scrollWidth") <= 390, path
        for button in await page.locator("main button:visible, main a.button:visible").all():
            box = await button.bounding_box()
            assert box and box["height"] >= 36, await button.inner_text()
    await page.goto(f"{url}/sessions")
    await tap(page.get_by_role("link", name="Open A name"))
    terminal = Terminal(page)
    await terminal.is_connected()
    lines = await terminal.sees("species", "Adelie")
    assert 35 <= max(map(len, lines)) <= 60
    assert await page.evaluate("document.scrollingElement.scrollWidth") <= 390
    await tap(page.get_by_role("link", name="Sessions"))
    await expect(row(page, "A name")).to_be_visible()


async def test_logging_in_takes_no_mouse(own_hub: object, url: str, admin: Person, browse: Browse) -> None:
    page = await browse()
    await page.goto(f"{url}/login")
    await expect(page.get_by_label("E-mail")).to_be_focused()
    await page.keyboard.type(admin.email)
    await page.keyboard.press("Tab")
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Sessions", exact=True)).to_be_visible()


async def test_logging_in_takes_no_javascript(own_hub: object, url: str, admin: Person, browse: Browse) -> None:
    page = await browse(java_script_enabled=False)
    await log_in(page, url, admin.email, PASSWORD)
    await expect(page.get_by_role("heading", name="Sessions", exact=True)).to_be_visible()
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
