"""Text of any kind stays in its cells: VisiData, curses and the browser count its columns alike."""

from __future__ import annotations

from pathlib import Path

from hosted_visidata import CASES, run_script
from width_strings import CURSES, generated

from app.agent.visidata.hosted import cells
from e2e.browser import Browse, Person, create_and_open

# xterm.js writes each string as the terminal's page would, and says how far its cursor came.
COUNT = """async ([xterm, widths, strings]) => {
  const [{ Terminal }, { provider, widthOf }] = await Promise.all([import(xterm), import(widths)]);
  const terminal = new Terminal({ cols: 400, rows: 2, allowProposedApi: true, logLevel: "off" });
  terminal.unicode.register(provider);
  terminal.unicode.activeVersion = provider.version;
  const differing = [];
  for (const [text, columns] of strings) {
    await new Promise((done) => terminal.write("\\x1b[2J\\x1b[H" + text, done));
    const at = terminal.buffer.active.cursorX;
    if (at !== columns) differing.push([text, columns, at]);
  }
  const table = Array.from({ length: 0x110000 }, (_, code) => widthOf(code)).join("");
  return { differing: differing.slice(0, 20), table };
}"""
# Where each row of the screen draws a text, in pixels.
PLACES = """(text) => [...document.querySelectorAll(".xterm-rows > div")].map((row) => {
  const walker = document.createTreeWalker(row, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode()); ) {
    const at = node.data.indexOf(text);
    if (at < 0) continue;
    const range = document.createRange();
    range.setStart(node, at);
    range.setEnd(node, at + text.length);
    return [row.textContent, Math.round(range.getBoundingClientRect().left)];
  }
  return [row.textContent, null];
})"""


async def test_visidata_curses_and_the_browser_count_alike(url: str, browse: Browse, tmp_path: Path) -> None:
    (tmp_path / "strings").write_text("\n".join(f"{text!a}" for text in generated(4000)))
    (found,) = run_script(tmp_path, CURSES)
    assert found["differing"] == []
    page = await browse()
    await page.goto(f"{url}/login")
    counted = await page.evaluate(COUNT, ["/static/vendor/xterm.mjs", "/static/terminal/widths.js", found["drawn"]])
    assert counted["differing"] == []
    controls = {*range(32), *range(127, 160)}
    for code, width in enumerate(counted["table"]):
        if code not in controls and not 0xD800 <= code < 0xE000:
            assert int(width) == cells.width(chr(code)), hex(code)


async def test_a_column_is_one_straight_line_whatever_is_in_the_others(url: str, ada: Person, browse: Browse) -> None:
    kinds = [line.split(",")[0] for line in (CASES / "widths.csv").read_text().splitlines()[1:]]
    await ada.api.put("/api/v1/files/widths.csv", data=(CASES / "widths.csv").read_bytes())
    page = await browse(ada, viewport={"width": 1280, "height": 900})
    terminal = await create_and_open(page, url, "path:widths.csv")
    steps = [
        (1280, 0),
        (900, 0),
        (620, 0),
        (620, 5),
        (620, 4),
        (620, 3),
    ]  # Of the window, and of the column of the texts.
    await terminal.sees("ascii", "unicode 15", "cjk ext b")
    await terminal.press("ArrowRight")
    for window, column in steps:
        await page.set_viewport_size({"width": window, "height": 900})
        if column:
            await terminal.press("z", "_")
            await terminal.sees("set width= ")
            await terminal.type(f"{column}")
            await terminal.press("Enter")
            await terminal.sees("unicode 15", but_not="set width= ")
        await page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        places = await page.evaluate(PLACES, "|")
        lines = [(text.replace("\xa0", " ").lstrip(), at) for text, at in places]
        rows = {kind: at for kind in kinds for text, at in lines if text.startswith(kind)}
        assert rows.keys() == {*kinds}, places
        assert None not in rows.values() and max(rows.values()) - min(rows.values()) <= 2, rows  # A cell has 8 pixels.
