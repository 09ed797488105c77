/** The clipboard of the computer: what goes there says so, and what the browser does not allow is said too. */

import { count, toast } from "./words.js";

export const CLIPBOARD_LIMIT = 5_000_000; // Characters of text. A person copies less, and a program could ask for anything.

/** Put the text on the clipboard. Browsers allow it after a key or a click, so what a program copies may need one more. */
export async function copy(text) {
  if (text === null || text.length > CLIPBOARD_LIMIT) return toast("Not copied: it is too long or damaged.", { tone: "warn" });
  const done = () => toast(`Copied ${count([...text].length, "character")}.`);
  try {
    await navigator.clipboard.writeText(text);
    done();
  } catch {
    const refused = () => toast("The browser does not allow copying here.", { tone: "warn" });
    const run = () => (navigator.clipboard ? navigator.clipboard.writeText(text).then(done, refused) : refused());
    toast("The browser did not allow copying by itself.", { tone: "warn", action: "Copy it", run });
  }
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
