"""Strings of all kinds that terminals count differently, made by chance but the same each time."""

from __future__ import annotations

import random

KINDS = (
    "abc XYZ 019 .,;|",
    "日本語カナ한글、。（）ｱｲ",
    "\u0301\u0308\u0304\u0323\u20e3\ufe0f\ufe0e\u200d\u200b\u200c\u2060\u00ad",
    "ก\u0e33ลัง\u0e34\u0e49เ",
    "क\u094dष\u093f\u0902ि\u0940",
    "\u1112\u1161\u11ab\u115f\u1160\u3164",
    "👩👧👍🏽🏿❤☂✈⌚🫨🫷🇩🇪🇫🇷🏴",
    "שלוםعربي\u200f\u200e\u202e\u202d\u2067\u2069\u061c",
    "\x1b[31m\x07\x08\t\r\n\x9b\x00\x7f\u2028\u00a0\u3000",
    "±§°×…│─•\ue0b0\uf8ff\U000f0000\U00020000\U000323af\U000e0041",
)


def generated(count: int) -> list[str]:
    chance = random.Random(20)
    strings = []
    for _ in range(count):
        kinds = chance.sample(KINDS, chance.randint(1, 3))
        letters = [chance.choice(chance.choice(kinds)) for _ in range(chance.randint(1, 14))]
        if chance.random() < 0.5:  # Any character there is.
            code = chance.choice((chance.randrange(0x3000), chance.randrange(0x20000), chance.randrange(0x110000)))
            letters.insert(chance.randrange(len(letters) + 1), chr(code if not 0xD800 <= code < 0xE000 else 0xFFFD))
        strings.append("".join(letters))
    return strings


# Runs in a session's Python: curses draws each string as VisiData would, and says how far its cursor came.
CURSES = """
import ast, curses, json, os, pty, sys
from visidata import AttrDict, cliptext, vd
vd.loadConfigAndPlugins(AttrDict())
with open("strings") as file:
    strings = [ast.literal_eval(line) for line in file]
master, terminal = pty.openpty()
printed = os.dup(1)
os.dup2(terminal, 0)
os.dup2(terminal, 1)
curses.initscr()
pad = curses.newpad(1, 1000)
differing, drawn = [], []
for string in strings:
    text, columns = cliptext._clipstr(string, None, oddspacech="\u00b7")
    pad.erase()
    pad.addstr(0, 0, text)
    at = pad.getyx()[1]
    if not at == columns == vd.getGlobals()["dispwidth"](string, literal=True):
        differing.append([string, text, columns, at])
    drawn.append([text, columns])
curses.endwin()
os.dup2(printed, 1)
print(json.dumps({"count": len(strings), "differing": differing[:20], "drawn": drawn[:5000]}))
"""
