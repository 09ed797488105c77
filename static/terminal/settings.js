/**
 * What the person has chosen for their terminals: read from the page, shown in a dialog, applied at once, and kept with
 * the account (POST /account/terminal), so that it is the same in every browser. The page comes with it, so nothing
 * flashes. The names are those of app/accounts/preferences.py.
 */

import { patientFetch } from "./ask.js";
import { backToTerminal, byId, openDialog, toast } from "./words.js";

const SYSTEM_FONT = 'ui-monospace, "SF Mono", Menlo, Consolas, "Cascadia Mono", "DejaVu Sans Mono", "Liberation Mono", monospace';
const FONTS = {
  system: "",
  dejavu: '"DejaVu Sans Mono", Menlo, "Bitstream Vera Sans Mono", ',
  cascadia: '"Cascadia Mono", "Cascadia Code", Consolas, ',
  courier: '"Courier New", Courier, "Nimbus Mono PS", ',
};
const SAVE_EVERY = 600; // Milliseconds: the first change is kept at once, but a font size is found by trying some.

const form = byId("settings").querySelector("form");
const dark = matchMedia("(prefers-color-scheme: dark)");
const contrast = matchMedia("(prefers-contrast: more)");
let size = form.elements.size.valueAsNumber; // The last one that can be; what is in the form may be half typed.
let saving = null; // Set while changes are being kept.
let saved = body(); // What the Hub was sent last, or null if it could not keep that.

/** { theme, font, size, reader, guard } as the form has them now. */
export function preferences() {
  const { theme, font, reader, guard } = form.elements;
  return { theme: theme.value, font: font.value, size, reader: reader.checked, guard: guard.checked };
}

/** What `Screen` takes: colours, font family, size in pixels and whether screen readers are served. */
export function look() {
  const { theme, font, reader } = preferences();
  const system = contrast.matches ? "contrast" : dark.matches ? "dark" : "light";
  return { colours: theme === "system" ? system : theme, family: FONTS[font] + SYSTEM_FONT, size, reader };
}

/** [value, words] of each theme there is. */
export function themes() {
  return [...form.elements.theme.options].map(({ value, label }) => [value, label]);
}

/** Set some preferences by their names, as the dialog would. */
export function choose(chosen) {
  for (const [name, value] of Object.entries(chosen)) form.elements[name].value = value;
  if (form.checkValidity()) form.requestSubmit();
  else form.elements.size.value = size;
}

export function openSettings() {
  openDialog(byId("settings"));
}

/** Call `changed` whenever something is to look otherwise. */
export function listen(changed) {
  const dress = () => {
    // Who asks the system for more contrast gets it around the screen too.
    document.documentElement.dataset.theme = look().colours === "contrast" ? "contrast" : form.elements.theme.value;
    // The colour of the browser's own bars.
    const bar = getComputedStyle(document.querySelector(".bar")).backgroundColor;
    for (const meta of document.querySelectorAll("meta[name=theme-color]")) meta.content = bar;
  };
  const apply = () => {
    dress();
    changed();
  };
  if (contrast.matches) dress();
  for (const query of [dark, contrast]) query.addEventListener("change", apply);
  const changedByHand = () => {
    if (!form.checkValidity()) return;
    size = form.elements.size.valueAsNumber;
    apply();
    saving ??= keep();
  };
  form.addEventListener("input", changedByHand);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    changedByHand();
    byId("settings").close();
  });
  byId("settings").addEventListener("close", () => {
    form.elements.size.value = size;
    backToTerminal();
  });
  addEventListener("pagehide", () => body() === saved || send());
}

/** One after the other, so that none overtakes a newer one. */
async function keep() {
  while (body() !== saved) {
    if (!(await send())) {
      saved = null; // So that the same, chosen again, is sent again.
      toast("It looks like that here, but the Hub could not keep it. Change it again later.", { tone: "warn" });
      break;
    }
    await new Promise((resolve) => setTimeout(resolve, SAVE_EVERY));
  }
  saving = null;
}

function send() {
  saved = body();
  const headers = { accept: "application/json", "content-type": "application/x-www-form-urlencoded" };
  const options = { method: "POST", body: saved, headers, keepalive: true };
  return patientFetch(form.action, options).then((answer) => answer.ok, () => false);
}

function body() {
  const fields = new FormData(form);
  fields.set("size", size);
  return new URLSearchParams(fields).toString();
}
