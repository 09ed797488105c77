/** What keys are in bytes, and which of VisiData's are worth a place in the palette. Tables, and nothing that acts. */

const PLAIN = { Esc: "\x1b", Tab: "\t", Enter: "\r", Space: " ", PgUp: "\x1b[5~", PgDn: "\x1b[6~" };
const ARROWS = { Up: "A", Down: "B", Right: "C", Left: "D" };

/** What a terminal sends for a key by its name (xterm's ctlseqs): `application` is the mode that DECCKM sets. */
export function sequence(name, { ctrl = false, application = false } = {}) {
  if (name in ARROWS) return ctrl ? `\x1b[1;5${ARROWS[name]}` : `\x1b${application ? "O" : "["}${ARROWS[name]}`;
  if (ctrl && name.startsWith("Pg")) return PLAIN[name].replace("~", ";5~");
  return PLAIN[name];
}

/** What Ctrl makes of a character, as on a keyboard; null where a terminal has nothing for it. */
export function control(character) {
  const upper = character.toUpperCase();
  if (/^[A-Z@[\\\]^_]$/.test(upper)) return String.fromCharCode(upper.charCodeAt(0) & 31);
  return { " ": "\0", "?": "\x7f", "/": "\x1f" }[character] ?? null;
}

/** The characters of a command in VisiData's own notation: `gq`, `Ctrl+S`, `Enter`. */
export function typed(keys) {
  return PLAIN[keys] ?? keys.replace(/Ctrl\+(.)/g, (_, character) => control(character));
}

/** The same as people read it: capitals are Shift and a letter. */
export function readable(keys) {
  return keys in PLAIN || keys.includes("+") ? keys : keys.replace(/[A-Z]/, "Shift+$&");
}

const US_PUNCTUATION = {
  Backquote: "`~", Minus: "-_", Equal: "=+", BracketLeft: "[{", BracketRight: "]}", Backslash: "\\|", Semicolon: ";:", Quote: "'\"",
  Comma: ",<", Period: ".>", Slash: "/?",
};

/** The character that the key at this place has on a US keyboard; "" for a key that has none there. */
export function byPlace({ code, shiftKey }) {
  const [, letter, digit] = /^(?:Key([A-Z])|Digit(\d))$/.exec(code) ?? [];
  if (letter) return shiftKey ? letter : letter.toLowerCase();
  if (digit) return shiftKey ? ")!@#$%^&*("[digit] : digit;
  return US_PUNCTUATION[code]?.[shiftKey ? 1 : 0] ?? "";
}

/** Whether the key wrote a letter of a script in which VisiData has no commands, such as Cyrillic or Greek. */
export function isForeign({ key }) {
  return /^[\p{L}№]$/u.test(key) && !/^\p{Script=Latin}$/u.test(key);
}

// Keys that app/agent/visidata/hosted gives a meaning to (Alt-Shift-F3 and Alt-Shift-F2 in terminfo's xterm).
export const OPEN_LEFT = "\x1b[1;4R";
export const PASTE_INTO_CELLS = "\x1b[1;4Q";

/** What a browser's tab keeps for itself: no page ever sees these. */
export const STOLEN = [
  ["Ctrl+W", "Erase the word before the cursor, in a prompt"],
  ["Ctrl+T", "See what VisiData is busy with; in a prompt, swap two characters"],
  ["Ctrl+N", "In a prompt, write the next key by its name"],
  ["Ctrl+Q", "Cancel a prompt; anywhere else VisiData ends at once, without asking"],
];

/** What the page does itself at a key: an entry of `act` in tools.js, or nothing. */
export function shortcut({ key, code, ctrlKey, shiftKey, altKey, metaKey }) {
  if (altKey || metaKey) return "";
  // A terminal has no code for Ctrl and a comma, so no program in it can want it; no browser has a use for it either.
  // On a keyboard of another script, the key is known by its place.
  if (ctrlKey && !shiftKey && (key === "," || (code === "Comma" && !/^[\x20-\x7e]$/.test(key)))) return "palette";
  if (!ctrlKey && shiftKey && key === "F1") return "help"; // F1 itself is VisiData's help.
  if (!ctrlKey && shiftKey && key === "F6") return "bar"; // The way out of the terminal for who has no mouse.
  // Elsewhere the browser's own F11 is better: there Esc does not leave it.
  return !ctrlKey && !shiftKey && key === "F11" && navigator.keyboard?.lock ? "fullscreen" : "";
}

/** [keys in VisiData's notation, its own name for the command, what it does, in a person's words]. */
export const COMMANDS = [
  ["F", "freq-col", "Count the values of this column"],
  ["gF", "freq-keys", "Count the combinations of the key columns"],
  ["I", "describe-sheet", "Describe all columns: smallest, largest, mean, missing"],
  ["W", "pivot", "Pivot table"],
  ["M", "melt", "Melt columns into rows"],
  ["T", "transpose", "Transpose rows and columns"],
  ["[", "sort-asc", "Sort by this column, smallest first"],
  ["]", "sort-desc", "Sort by this column, largest first"],
  ["/", "search-col", "Search in this column"],
  ["g/", "search-cols", "Search in all columns"],
  ["n", "search-next", "Next match"],
  ["|", "select-col-regex", "Select the rows that match in this column"],
  ["t", "stoggle-row", "Select this row, or unselect it"],
  ["gs", "select-rows", "Select all rows"],
  ["gu", "unselect-rows", "Unselect all rows"],
  ['"', "dup-selected", "Open the selected rows as a sheet"],
  ["=", "addcol-expr", "New column from a Python expression"],
  [":", "addcol-split", "Split this column by a pattern"],
  ["*", "addcol-regex-subst", "New column by search and replace"],
  ["(", "expand-col", "Expand this column of lists or objects"],
  ["+", "aggregate-col", "Add an aggregator, such as sum or mean"],
  ["#", "type-int", "This column holds whole numbers"],
  ["%", "type-float", "This column holds decimals"],
  ["$", "type-currency", "This column holds money"],
  ["@", "type-date", "This column holds dates"],
  ["~", "type-string", "This column holds text"],
  ["!", "key-col", "Make this a key column, or none"],
  ["-", "hide-col", "Hide this column"],
  ["^", "rename-col", "Rename this column"],
  ["_", "resize-col-max", "Widen this column to its content"],
  ["g_", "resize-cols-max", "Widen all columns to their content"],
  ["c", "go-col-regex", "Go to a column by its name"],
  ["gk", "go-top", "Go to the first row"],
  ["gj", "go-bottom", "Go to the last row"],
  ["Enter", "open-row", "Open this row"],
  ["e", "edit-cell", "Edit this cell"],
  ["zY", "syscopy-cell", "Copy this cell to the clipboard"],
  ["Y", "syscopy-row", "Copy this row to the clipboard"],
  ["gY", "syscopy-selected", "Copy the selected rows to the clipboard"],
  [".", "plot-column", "Plot this column"],
  ["&", "join-sheets-top2", "Join the two sheets on top"],
  ["C", "columns-sheet", "List the columns of this sheet"],
  ["S", "sheets-stack", "List the open sheets"],
  ["O", "options-global", "VisiData's options"],
  ["o", "open-file", "Open a file by its path"],
  ["Ctrl+S", "save-sheet", "Save this sheet"],
  ["Ctrl+D", "save-cmdlog", "Save the log of commands"],
  ["Ctrl+R", "reload-sheet", "Load this sheet again"],
  ["U", "undo-last", "Undo"],
  ["R", "redo-last", "Redo"],
  ["Ctrl+C", "cancel-sheet", "Stop what this sheet is busy with"],
  ["Ctrl+H", "menu-help", "VisiData's own menu"],
  ["zCtrl+H", "help-commands", "VisiData's list of commands"],
  ["Space", "exec-longname", "Run any VisiData command by its name"],
  ["q", "quit-sheet", "Close this sheet"],
  ["gq", "quit-all", "Close all sheets and end VisiData"],
];
