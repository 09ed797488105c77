/**
 * Pasting into VisiData, which reads text as commands: pasting "quick note" quits it, and "=..." runs Python.
 *
 * It goes unasked only where the program has said that it wants a paste and can tell it from typing. VisiData does while
 * it asks for text (app/agent/visidata/hosted/prompts.py), and takes it for one line; should its prompt have closed meanwhile,
 * it throws it away. Everything else is shown first, with what can be done with it: a new sheet, the cells at the cursor,
 * a file, one line for the prompt of a VisiData of another make, or typed all the same, which says what that means.
 */

import { leave, upload } from "./files.js";
import { PASTE_INTO_CELLS } from "./keys.js";
import { backToTerminal, byId, count, openDialog, toast } from "./words.js";

const PREVIEW = 2_000; // Characters.
// Bytes that go into a prompt: in one message of the WebSocket, so that a paste arrives whole or not at all.
const PROMPT_LIMIT = 48_000;

/** The text as one line, fit for a prompt: no character is left that would be a key. */
function oneLine(text) {
  return text.trim().replace(/[\x00-\x1f\x7f-\x9f]+/g, " ");
}

/** The ending of a file that holds such text: tsv, csv, json, jsonl or txt. */
function ending(text) {
  const lines = text.split("\n").filter((line) => line.trim());
  if (isJson(text) && /^\s*[[{]/.test(text)) return lines.length > 1 && lines.every(isJson) ? "jsonl" : "json";
  if (lines.length && lines.every((line) => /^\s*\{/.test(line) && isJson(line))) return "jsonl";
  if (lines.length && lines.every((line) => line.includes("\t"))) return "tsv";
  const commas = lines.length > 1 && lines[0].split(",").length;
  return commas > 1 && lines.filter((line) => line.split(",").length >= commas).length > lines.length * 0.9 ? "csv" : "txt";
}

function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * Pasting onto one screen. `may(what)` says whether keys go anywhere, and if not, says so to the person; `open(paths)` has
 * files of the home opened, and gives a sentence about it.
 */
export function pasting(screen, { may, open }) {
  const dialog = byId("paste");
  const { elements } = dialog.querySelector("form");
  let text = "";
  let used;

  /** Gives whether it was typed; `whenUsed` is called once it was, or was put elsewhere. */
  function paste(given, whenUsed) {
    used = whenUsed;
    text = given.replace(/\r\n?/g, "\n").replace(/\n+$/, "");
    if (!text || !may("the paste")) return false;
    if (!screen.pasteable || tooLong()) {
      offer();
      return false;
    }
    screen.paste(text);
    used?.();
    return true;
  }

  const tooLong = () => new TextEncoder().encode(text).length > PROMPT_LIMIT;

  function offer() {
    const { prompting } = screen;
    const long = prompting && tooLong();
    const lines = text.split("\n").length;
    byId("paste-title").textContent = `Paste ${lines > 1 ? count(lines, "line") : count([...text].length, "character")}`;
    byId("paste-why").textContent = long
      ? "This is too long for a prompt. Store it as a file, or close the prompt first and paste again to open it as a sheet."
      : prompting
      ? "This was not typed: the page cannot tell what the program would do with it."
      : "VisiData treats pasted text as commands unless a prompt is open. Where should it go?";
    byId("paste-text").textContent = text.length > PREVIEW ? `${text.slice(0, PREVIEW)}…` : text;
    if (elements.name) elements.name.value = `pasted.${ending(text)}`;
    for (const choice of dialog.querySelectorAll("[data-prompting]")) choice.hidden = long || (choice.dataset.prompting === "yes") !== prompting;
    dialog.querySelector(".anyway").hidden = long;
    const first = dialog.querySelector(".primary:not([hidden])") ?? dialog.querySelector("[value='']");
    dialog.returnValue = "";
    if (!dialog.open) openDialog(dialog);
    first.focus();
  }

  const acts = {
    async sheet() {
      const path = await upload(elements.name.value, text);
      toast(`Stored as “${path}” among your files. ${await open([path])}`);
    },
    async cells() {
      await leave("clipboard", text);
      screen.type(PASTE_INTO_CELLS);
      toast("Pasted into the cells from the cursor on. U undoes it.");
    },
    async file() {
      toast(`Stored as “${await upload(elements.name.value, text)}” among your files.`);
    },
    // The prompt may have closed while it was asked what to do, and outside of it each character is a command.
    line: () => (screen.prompting ? screen.paste(oneLine(text)) : offer()),
    type: () => screen.paste(text),
  };

  dialog.addEventListener("close", async () => {
    backToTerminal();
    const act = acts[dialog.returnValue];
    if (!act || !may("the paste")) return;
    try {
      await act();
      if (!dialog.open) used?.();
    } catch (error) {
      toast(error.message, { tone: "warn", action: "Try again", run: offer, seconds: 20 });
    }
  });

  return paste;
}
