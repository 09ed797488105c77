"""People's sessions on a real cluster: what they do, what goes wrong, and the words that they read then."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest
from playwright.async_api import Page, expect

from cluster.conftest import PATIENCE, RESTART_API, Desk, OpenDesk, Place
from e2e.browser import Terminal, create_and_open

SECONDS = 1000.0  # Milliseconds, as Playwright counts.


async def until_no_pod(place: Place) -> None:
    async with asyncio.timeout(PATIENCE):
        while await place.pods():
            await asyncio.sleep(0.2)


async def reads(page: Page, *texts: str, within: float = PATIENCE) -> None:
    """The page says all this where the terminal would be."""
    for text in texts:
        await expect(page.locator("#panel")).to_contain_text(text, timeout=within * SECONDS)


async def evaluate(terminal: Terminal, expression: str) -> None:
    """Have VisiData evaluate something in Python."""
    await terminal.press("Control+x")
    await terminal.sees("eval")
    await terminal.type(expression)
    await terminal.press("Enter")


async def test_a_session_is_made_and_typed_in_and_found_again_and_quit(desk: Desk, place: Place) -> None:
    page = await (await desk.browser.new_context(storage_state=desk.owner.state)).new_page()
    terminal = await create_and_open(page, desk.hub.url, "sample:penguins.csv")
    await terminal.sees("Adelie", "344 rows")
    await terminal.press("ArrowRight", "Shift+F")
    await terminal.sees("island_freq", "Torgersen")
    await page.reload()
    await terminal.is_connected()
    await terminal.sees("island_freq", "Torgersen")
    await terminal.press("g", "q")
    await terminal.sees("quit")
    await terminal.press("y")
    await reads(page, "VisiData was quit.")
    await until_no_pod(place)


async def test_a_start_says_how_far_it_has_got(desk: Desk) -> None:
    page = await (await desk.browser.new_context(storage_state=desk.owner.state)).new_page()
    await page.add_init_script("""window.said = [];
        addEventListener("DOMContentLoaded", () => {
          const panel = document.getElementById("panel");
          const note = () => {
            const words = panel.innerText.split("\\n").filter((line) => line.trim());
            if (!panel.hidden && words.join() !== said.at(-1)?.join()) said.push(words);
          };
          if (!panel) return;
          note();
          new MutationObserver(note).observe(panel, { subtree: true, childList: true });
        });""")
    await create_and_open(page, desk.hub.url, "sample:penguins.csv")
    said = [[word for word in words if word != "Back to your sessions"] for words in await page.evaluate("said")]
    waits = "A machine was found, and is being made ready; it may have to fetch VisiData first"
    assert ["Starting VisiData", waits] in said, said
    assert said[-1] == ["Starting VisiData"], said  # By then its container runs.


async def test_a_hub_that_is_killed_finds_its_sessions_again(desk: Desk, place: Place) -> None:
    session_id = await desk.create()
    page, terminal = await desk.look_at(session_id)
    await terminal.sees("Adelie")
    await terminal.press("Shift+F")
    await terminal.sees("species_freq")
    before = (await place.pod_of(session_id))["metadata"]["uid"]
    await desk.hub.end(signal.SIGKILL)
    await desk.hub.start()
    await terminal.is_connected(within=30 * SECONDS)
    await terminal.sees("species_freq")
    assert (await place.pod_of(session_id))["metadata"]["uid"] == before
    await page.context.close()


async def test_a_session_that_is_stopped_in_the_middle_of_its_start_stops_at_once(desk: Desk, place: Place) -> None:
    session_id = await desk.create(state="starting")
    began = time.monotonic()
    await desk.owner.api.post(f"/api/v1/sessions/{session_id}/stop")
    await desk.reaches(session_id, "stopped")
    assert time.monotonic() - began < 10
    await desk.owner.api.post(f"/api/v1/sessions/{session_id}/start")
    await desk.reaches(session_id, "running")


async def test_more_memory_than_there_is_ends_it_and_says_so(desk: Desk) -> None:
    session_id = await desk.create()
    page, terminal = await desk.look_at(session_id)
    await terminal.sees("Adelie")
    await evaluate(terminal, "len(b'x' * 500_000_000)")
    await reads(page, "It needed more memory than it may have. Start it again and open less at once.", within=20)
    await page.get_by_role("button", name="Start again").click()
    await terminal.is_connected()
    await terminal.sees("Adelie")


async def test_a_pod_that_is_deleted_behind_the_hubs_back_is_told_within_seconds(desk: Desk, place: Place) -> None:
    session_id = await desk.create()
    page, terminal = await desk.look_at(session_id)
    await terminal.sees("Adelie")
    await place.admin.delete_pod(place.namespace, (await place.pod_of(session_id))["metadata"]["name"])
    await reads(page, "Its pod was deleted, and not by the Hub.", within=15)
    await page.get_by_role("button", name="Start again").click()
    await terminal.is_connected()


async def test_a_session_that_nobody_uses_is_stopped(open_desk: OpenDesk, place: Place) -> None:
    async with open_desk(HUB_IDLE_TIMEOUT="6s", HUB_WARN_BEFORE="2s") as desk:
        page, terminal = await desk.look_at(await desk.create())
        await terminal.sees("Adelie")
        await reads(page, "Nothing was typed for a long time, so it was stopped.")
        await until_no_pod(place)


async def test_an_image_that_does_not_exist_is_told_within_seconds(open_desk: OpenDesk) -> None:
    image = "registry.invalid/no/such:image"
    async with open_desk(HUB_K8S_IMAGE=image) as desk:
        page, _ = await desk.look_at(await desk.create(state="starting"))
        await reads(page, "could not be fetched", image, within=15)
        await reads(page, "Its program could not be fetched. An administrator has to look.", image)


async def test_no_machine_with_room_is_told_while_waiting_and_a_stop_works(open_desk: OpenDesk, place: Place) -> None:
    # The node that has 11 cores free for one session has yet to be tried on.
    async with open_desk(HUB_K8S_CPU_REQUEST="11", HUB_K8S_CPU="11", HUB_K8S_SCHEDULING_TIMEOUT="15s") as desk:
        session_id = await desk.create(state="starting")
        page, _ = await desk.look_at(session_id)
        await reads(page, "No machine has room for it yet", "Insufficient cpu", within=10)
        await desk.owner.api.post(f"/api/v1/sessions/{session_id}/stop")
        await reads(page, "You stopped it.", within=10)
        await page.get_by_role("button", name="Start again").click()
        await reads(page, "There is no room for it just now.", "Insufficient cpu", within=30)
        await until_no_pod(place)


async def test_a_volume_that_is_not_bound_is_called_that(open_desk: OpenDesk, place: Place) -> None:
    settings = {"HUB_K8S_HOME": "pvc", "HUB_K8S_STORAGE_CLASS": "nothing-provides-it"}
    async with open_desk(**settings, HUB_K8S_SCHEDULING_TIMEOUT="15s") as desk:
        page, _ = await desk.look_at(await desk.create(state="starting"))
        await reads(page, "Its volume is not ready yet", within=10)
        await reads(page, "Its volume was not provided.", "PersistentVolumeClaim", within=30)
        await until_no_pod(place)


async def test_what_the_cluster_refuses_is_told_with_its_own_words(open_desk: OpenDesk) -> None:
    async with open_desk(HUB_K8S_CPU="99") as desk:  # More than the namespace's LimitRange lets in.
        answer = await desk.owner.api.post("/api/v1/sessions", data={})
        session_id = (await answer.json())["id"]
        page, _ = await desk.look_at(session_id)
        await reads(page, "An administrator has to look", "maximum cpu usage per Container is 16", within=15)


async def test_a_full_quota_puts_people_in_line_and_lets_the_next_in(open_desk: OpenDesk, place: Place) -> None:
    quota = f"/api/v1/namespaces/{place.namespace}/resourcequotas/sessions"
    before = (await place.admin.call("GET", quota))["spec"]["hard"]["pods"]

    async def room_for(pods: str) -> None:
        patch = {"spec": {"hard": {"pods": pods}}}
        await place.admin.call("PATCH", quota, patch, "application/merge-patch+json")
        async with asyncio.timeout(PATIENCE):
            while (await place.admin.call("GET", quota))["status"].get("hard", {}).get("pods") != pods:
                await asyncio.sleep(0.1)

    await room_for("1")
    try:
        async with open_desk() as desk:
            first = await desk.create("First")
            second = await desk.create("Second", state="queued")
            page, terminal = await desk.look_at(second)
            await reads(page, "Number 1 in line")
            await desk.owner.api.post(f"/api/v1/sessions/{first}/stop")
            await terminal.is_connected(within=PATIENCE * SECONDS)
            await terminal.sees("Adelie")
    finally:
        await room_for(before)


@pytest.mark.timeout(240)
async def test_more_on_its_disk_than_it_may_have_is_told(open_desk: OpenDesk) -> None:
    async with open_desk(HUB_K8S_TMP_SIZE="16Mi") as desk:
        page, terminal = await desk.look_at(await desk.create())
        await terminal.sees("Adelie")
        await evaluate(terminal, "open('/tmp/large', 'wb').write(b'x' * 40_000_000)")
        await terminal.sees("40000000")
        # A kubelet looks at its disk once a minute.
        await reads(page, "for want of room", 'exceeds the limit "16Mi"', within=150)


@pytest.mark.restarts_the_api
@pytest.mark.timeout(180)
async def test_a_restart_of_the_api_server_disturbs_nobody(desk: Desk, place: Place) -> None:
    session_id = await desk.create()
    page, terminal = await desk.look_at(session_id)
    await terminal.sees("Adelie")
    before = (await place.pod_of(session_id))["metadata"]["uid"]
    restart = await asyncio.create_subprocess_shell(RESTART_API)
    # Meanwhile: keys arrive, and who asks for a session gets one once the cluster answers again.
    await terminal.press("Shift+F")
    await terminal.sees("species_freq")
    answer = await desk.owner.api.post("/api/v1/sessions", data={"name": "Meanwhile"})
    assert answer.status == 201
    assert await restart.wait() == 0
    await desk.reaches((await answer.json())["id"], "running")
    assert (await place.pod_of(session_id))["metadata"]["uid"] == before
    await expect(terminal.state).to_have_attribute("data-terminal-state", "connected")
    # And its informer sees again what happens: a quit is noticed.
    await terminal.press("g", "q")
    await terminal.sees("quit")
    await terminal.press("y")
    await reads(page, "VisiData was quit.", within=15)


async def test_a_pod_that_is_kept_ready_is_somebodys_at_once_and_never_used_twice(
    open_desk: OpenDesk, place: Place
) -> None:
    async def ready_one(but_not: str = "") -> str:
        """The UID of a pod that waits for somebody."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for pod in await place.pods():
                    started = all(one.get("started") for one in pod["status"].get("containerStatuses", [{}]))
                    waits = (
                        "visidata-hub/session" not in pod["metadata"]["labels"] and pod["metadata"]["uid"] != but_not
                    )
                    if started and waits:
                        return str(pod["metadata"]["uid"])
                await asyncio.sleep(0.2)

    async with open_desk(HUB_WARM_RUNS="1") as desk:
        uid = await ready_one()
        began = time.monotonic()
        first = await desk.create("First")
        assert time.monotonic() - began < 1.5  # A pod that is made anew takes longer than that.
        assert (await place.pod_of(first))["metadata"]["uid"] == uid
        page, terminal = await desk.look_at(first)
        await terminal.sees("Adelie", "344 rows")
        another = await ready_one(but_not=uid)
        await desk.owner.api.post(f"/api/v1/sessions/{first}/stop")
        await reads(page, "You stopped it.")
        second = await desk.create("Second")
        assert (await place.pod_of(second))["metadata"]["uid"] == another
