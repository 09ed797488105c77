/** How many columns xterm.js gives to a character: as VisiData and curses do, by the table that the sessions have too. */

import { WIDE, ZERO } from "./width-table.js";

const TABLED = 0x40000; // Beyond it, no character is wide.

const rangesOf = (text) => text.split(" ").map((range) => range.split("-").map((code) => parseInt(code, 16)));
const zero = rangesOf(ZERO);
const table = new Uint8Array(TABLED).fill(1);
for (const [ranges, width] of [[zero, 0], [rangesOf(WIDE), 2]]) {
  for (const [first, last = first] of ranges) table.fill(width, first, last + 1);
}
const beyond = zero.filter(([first]) => first >= TABLED);
table.fill(0, 0, 32).fill(0, 127, 160); // As xterm.js has it for control characters.

export const widthOf = (code) =>
  code < TABLED ? table[code] : beyond.some(([first, last = first]) => first <= code && code <= last) ? 0 : 1;

// xterm.js packs what it knows of the cell before: its width in two bits, and whether the next character joined it.
const pack = (width, joins) => (width << 1) | (joins ? 1 : 0);
const packedWidth = (properties) => (properties >> 1) & 3;

/** For `terminal.unicode.register`. Each character counts by itself; one of width 0 joins the cell before it. */
export const provider = {
  version: "visidata-hub",
  wcwidth: widthOf,
  charProperties(code, before) {
    const width = widthOf(code);
    const joins = width === 0 && before !== 0 && packedWidth(before) > 0;
    return pack(joins ? packedWidth(before) : width, joins);
  },
};

// Characters whose look does not depend on their neighbours: European letters, symbols without emoji, East Asian ones.
const ALONE =
  /[^\u0000-\u02ff\u0370-\u0482\u048a-\u052f\u1e00-\u1fff\u2010-\u2027\u2030-\u205f\u2070-\u209f\u2190-\u22ff\u2500-\u259f\u2800-\u28ff\u2e80-\ua4cf\uac00-\ud7a3\ue000-\ufaff\uff00-\uffef]/;
const CELL = /\P{M}[\p{M}\p{Cf}]*|[^]/gu;

/**
 * For `terminal.registerCharacterJoiner`: the characters of a line that a browser would join with their neighbours (emoji
 * sequences, flags, Devanagari), or turn around (Arabic, Hebrew), each for itself. So each is drawn in its own cell.
 */
export function cellsOf(text) {
  if (!ALONE.test(text)) return [];
  const found = [];
  for (const { 0: cell, index } of text.matchAll(CELL)) if (ALONE.test(cell)) found.push([index, index + cell.length]);
  return found;
}
