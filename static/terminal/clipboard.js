/** The computer's clipboard: the page says what went there, and offers a way on where the browser does not allow it. */

import { count, toast } from "./words.js";

export const CLIPBOARD_LIMIT = 5_000_000; // Characters. The hosted VisiData makes a file of more (hosted/clipboard.py).

/** Put the text on the clipboard. Browsers allow it after a key or a click, so a program's wish may need one more. */
export async function copy(text) {
  if (text === null || text.length > CLIPBOARD_LIMIT) {
    return toast("Not copied: it is damaged, or too large for the clipboard. Save it as a file instead (Ctrl+S).", { tone: "warn", seconds: 12 });
  }
  const done = () => toast(`Copied ${count([...text].length, "character")}.`);
  if (await write(text)) return done();
  const refused = () => toast("The browser does not allow copying here.", { tone: "warn", action: "Save as a file", run: () => download(text) });
  const run = async () => ((await write(text)) ? done() : refused());
  toast("The browser did not allow copying by itself.", { tone: "warn", action: "Copy it", run });
}

/** Whether the browser took the text. */
async function write(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return writeSelected(text); // On plain http there is no navigator.clipboard.
  }
}

/** The older way: a selected text. It works on plain http too, but only after a key or a click. */
function writeSelected(text) {
  const before = document.activeElement;
  const area = document.createElement("textarea");
  area.className = "visually-hidden";
  area.value = text;
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  let taken = false;
  const hand = (event) => {
    event.preventDefault();
    event.stopImmediatePropagation();
    event.clipboardData.setData("text/plain", text);
    taken = true;
  };
  document.addEventListener("copy", hand, { capture: true, once: true });
  taken = document.execCommand("copy") && taken;
  document.removeEventListener("copy", hand, { capture: true });
  area.remove();
  before?.focus?.({ preventScroll: true });
  return taken;
}

function download(text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = "copied.txt";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** The clipboard's text, or null where the browser does not give it to pages; then it has said how to paste. */
export async function read() {
  try {
    return await navigator.clipboard.readText();
  } catch {
    const key = /Mac|iP/.test(navigator.platform) ? "⌘V" : "Ctrl-V";
    toast(`The browser keeps the clipboard from pages. Press ${key} to paste.`, { tone: "warn" });
    return null;
  }
}
