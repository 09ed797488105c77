/** The keys that phones lack, under the screen, and a box to compose a line or a text in before it is sent. */

import { backToTerminal, byId } from "./words.js";

const REPEAT_AFTER = 400; // Milliseconds that a key is held before it repeats, and then between two: as keyboards have it.
const REPEAT_EVERY = 60;
const REPEATS = new Set(["Up", "Down", "Left", "Right", "PgUp", "PgDn"]);

/**
 * `may()` says whether keys go anywhere, and if not, says so to the person; `commands()` opens the palette, `paste(text,
 * used)` takes what is not to be typed, and calls `used` once it has got somewhere. Returns `unstick()`, for when the sticky Ctrl was used.
 */
export function keyBar(screen, { may, commands, paste }) {
  const bar = byId("keybar");
  const ctrl = bar.querySelector("[data-act=ctrl]");
  let repeating;

  const stick = (on) => {
    screen.sticky = on ? "ctrl" : "";
    ctrl.setAttribute("aria-pressed", String(on));
  };
  const press = (key) => {
    if (!may()) return false;
    screen.press(key);
    return true;
  };
  const acts = {
    ctrl: () => stick(screen.sticky === ""),
    commands,
    compose: () => (byId("compose").hidden ? open() : close()),
  };

  // The keyboard on the screen goes when the terminal loses the focus.
  bar.addEventListener("mousedown", (event) => event.preventDefault());
  bar.addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (!button || button.dataset.held) return;
    if (button.dataset.key) press(button.dataset.key);
    else acts[button.dataset.act]();
  });
  bar.addEventListener("pointerdown", ({ target }) => {
    const button = target.closest("button");
    if (!button) return;
    delete button.dataset.held;
    if (!REPEATS.has(button.dataset.key)) return;
    const again = () => {
      button.dataset.held = "yes"; // The click that ends it is no other press.
      if (press(button.dataset.key)) repeating = setTimeout(again, REPEAT_EVERY);
    };
    repeating = setTimeout(again, REPEAT_AFTER);
  });
  for (const end of ["pointerup", "pointercancel", "pointerleave"]) bar.addEventListener(end, () => clearTimeout(repeating));
  bar.addEventListener("contextmenu", (event) => event.preventDefault());

  // The compose box

  const box = byId("compose");
  const [field, hint] = [box.elements.text, byId("compose-hint")];

  function open() {
    box.hidden = false;
    bar.querySelector("[data-act=compose]").setAttribute("aria-expanded", "true");
    judge();
    field.focus();
  }
  function close() {
    box.hidden = true;
    bar.querySelector("[data-act=compose]").setAttribute("aria-expanded", "false");
    backToTerminal();
  }
  /** Say what will become of it, before it is sent. */
  function judge() {
    const typed = screen.pasteable;
    hint.textContent = typed
      ? "VisiData asks for text: this goes there."
      : "VisiData does not ask for text: you choose what becomes of this.";
    byId("compose-enter").hidden = !typed;
  }
  field.addEventListener("input", judge);
  screen.term.onWriteParsed(() => box.hidden || judge());
  field.addEventListener("keydown", (event) => event.key === "Escape" && close());
  box.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = field.value;
    if (!text || !may()) return;
    const enter = event.submitter?.id === "compose-enter";
    close();
    // Until it has got somewhere it stays, so that a cancelled text is not lost.
    if (paste(text, () => (field.value = "")) && enter) press("Enter");
  });
  byId("compose-close").addEventListener("click", close);

  bar.dataset.ready = "yes";
  return { unstick: () => stick(false) };
}
