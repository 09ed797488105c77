"""What the relay shortens looks the same on the screen that people have, xterm.js, whatever a program says."""

from __future__ import annotations

import base64
import random

from app.terminal.sgr import shorten
from e2e.browser import Browse

SCREENS = 1000
PIECES = (
    *("\x1b[m", "\x1b[0m", "\x1b[0;1m", "\x1b[;7m", "\x1b[1m", "\x1b[2m", "\x1b[3m", "\x1b[4m", "\x1b[5m", "\x1b[8m"),
    *("\x1b[9m", "\x1b[22m", "\x1b[23m", "\x1b[24m", "\x1b[25m", "\x1b[27m", "\x1b[28m", "\x1b[29m", "\x1b[1;31m"),
    *(
        "\x1b[32m",
        "\x1b[39m",
        "\x1b[40m",
        "\x1b[47m",
        "\x1b[49m",
        "\x1b[97m",
        "\x1b[104m",
        "\x1b[38;5;0m",
        "\x1b[48;5;232m",
    ),
    *(
        "\x1b[38;2;0;1;255m",
        "\x1b[48;2;7;0;0m",
        "\x1b[21m",
        "\x1b[53m",
        "\x1b[4:3m",
        "\x1b[58;5;0m",
        "\x1b[38;5m",
        "\x1b[0;38m",
    ),
    *(
        "\x1b[38:5:9m",
        "\x1b[38;5;256m",
        "\x1b(B",
        "\x1b(B",
        "\x1b(0",
        "\x1b)0",
        "\x0e",
        "\x0f",
        "\x1b7",
        "\x1b8",
        "\x1b[s",
        "\x1b[u",
    ),
    *(
        "\x1b[H",
        "\x1b[3;8H",
        "\x1b[20G",
        "\x1b[K",
        "\x1b[1J",
        "\x1b[2X",
        "\x1b[L",
        "\x1b[S",
        "\x1bM",
        "\x1b[!p",
        "\x1bc",
    ),
    *(
        "\x1b[?1049h",
        "\x1b[?1049l",
        "\x1b[?25l",
        "\x1b=",
        "\x1b]0;title",
        "\x07",
        "\x1bPq",
        "\x1b\\",
        "\x1b_",
        "\u009b1m",
        "\u009d0;",
    ),
    *("\u0301", "\u200b", "\ufe0f", "e\u0301", "\x1b[5b", "\x1b[" + 38 * ";" + "1m"),
    *("\x1b", "\x1b[", "\x1b[3", "\x18", "a", "q", "12.5 ", "│", "\r\n", "\t", "x" * 30),
)
DRAW = """async ([path, streams]) => {
  const { Terminal } = await import(path);
  const LOOKS = ["getChars", "getFgColorMode", "getFgColor", "getBgColorMode", "getBgColor", "isBold", "isDim", "isItalic",
    "isUnderline", "isBlink", "isInverse", "isInvisible", "isStrikethrough", "isOverline"];
  const draw = async (parts) => {
    const terminal = new Terminal({ cols: 40, rows: 6, allowProposedApi: true, logLevel: "off" });
    const bytes = parts.map((part) => Uint8Array.from(atob(part), (letter) => letter.charCodeAt(0)));
    await new Promise((done) => bytes.forEach((part, index) => terminal.write(part, index === bytes.length - 1 ? done : null)));
    const buffer = terminal.buffer.active, cells = [];
    for (let row = 0; row < 6; row++) {
      for (let column = 0; column < 40; column++) {
        const cell = buffer.getLine(buffer.baseY + row).getCell(column);
        cells.push(LOOKS.map((look) => cell[look]()).join());
      }
    }
    terminal.dispose();
    return cells.join("|");
  };
  const different = [];
  for (const [index, [before, said, short]] of streams.entries()) {
    if (await draw([before, said, btoa("n")]) !== await draw([before, short, btoa("n")])) different.push(index);
  }
  return different;
}"""


async def test_what_is_said_in_fewer_bytes_looks_the_same(url: str, browse: Browse) -> None:
    chance = random.Random(7)

    def some() -> bytes:
        return "".join(chance.choices(PIECES, k=chance.randrange(60))).encode()

    streams = [(some(), said, shorten(said)) for said in (some() for _ in range(SCREENS))]
    assert sum(len(short) for _, _, short in streams) < sum(len(said) for _, said, _ in streams)
    page = await browse()
    await page.goto(f"{url}/login")
    packed = [[base64.b64encode(part).decode() for part in stream] for stream in streams]
    different = await page.evaluate(DRAW, ["/static/vendor/xterm.mjs", packed])
    assert [streams[index] for index in different] == []
