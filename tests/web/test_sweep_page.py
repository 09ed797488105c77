"""An administrator sees that the sweep waits, and confirms it; nobody else can."""

from __future__ import annotations

from serving import Site

from app.lifecycle import installation

WHY = "12 of 14 live runs belong to no session in this database."


async def test_a_held_sweep_is_shown_to_administrators_who_alone_can_confirm_it(site: Site) -> None:
    _, admin = await site.person("ada@example.org", admin=True)
    _, other = await site.person("bob@example.org")
    assert WHY not in (await admin.get("/admin")).text
    await installation.hold(WHY, ["a-1", "b-1"])
    shown = (await admin.get("/admin")).text
    assert WHY in shown
    assert "HUB_DATABASE_URL" in shown
    assert (await other.post("/admin/sweep")).status == 404, "there is no such page for others"
    assert (await site.browser().post("/admin/sweep")).status in (303, 401)
    assert (await admin.post("/admin/sweep", headers={"Origin": "https://evil.example"})).status == 403
    assert await installation.read_why() == WHY
    assert (await admin.post("/admin/sweep")).location == "/admin"
    assert await installation.read_why() == ""
    assert (await installation.read_hold()).confirmed == {"a-1", "b-1"}
    assert WHY not in (await admin.get("/admin")).text
    assert (await admin.post("/admin/sweep")).location == "/admin", "a second click does no harm"


async def test_a_monitor_sees_the_brake_and_runs_of_another_database(site: Site) -> None:
    told = (await site.browser().get("/metrics")).text
    assert "\nhub_sweep_held 0\n" in told
    assert "\nhub_foreign_runs 0\n" in told
