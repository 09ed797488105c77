/** What the page says: the status in the bar, the panel over the screen, toasts, the title. Decides nothing. */

export const byId = (id) => document.getElementById(id);
export const page = byId("hub");
const terminal = byId("terminal");
const { name } = page.dataset;
const touch = matchMedia("(pointer: coarse)");

/** Give the keyboard to the terminal again, unless a dialog or a menu has been opened meanwhile. */
export function backToTerminal() {
  const keys = byId("screen").querySelector("textarea");
  if (!keys || document.querySelector("dialog[open], :popover-open")) return;
  // After a tap on a button of a phone its keyboard must not cover the screen; a tap on the screen opens it.
  if (touch.matches && !document.activeElement?.matches("textarea, input")) keys.inputMode = "none";
  keys.focus({ preventScroll: true });
}

/** The person taps on the screen, so the keyboard of a phone may come. */
export function allowKeyboard() {
  const keys = byId("screen").querySelector("textarea");
  if (keys?.inputMode !== "none") return;
  keys.inputMode = "";
  keys.blur(); // The tap gives it the focus again, and with it comes the keyboard.
}

/** Open a dialog. When it closes, the browser gives the focus back to what had it: that is to be the terminal. */
export function openDialog(dialog) {
  backToTerminal();
  dialog.showModal();
}

/** What the bar and the panel say. `tone` colours the dot: good, warn, bad or nothing. */
export function show(state, text, tone = "", countdown = "") {
  terminal.dataset.terminalState = state;
  byId("status").dataset.tone = tone;
  // Only a new text is read out, and the seconds never are.
  if (byId("status-text").textContent !== text) byId("status-text").textContent = text;
  byId("countdown").textContent = countdown;
  if (state !== "reconnecting") byId("now").hidden = true;
  if (state !== "connected") byId("status").title = "";
}

export function showPanel(title, text, { busy = false, start = false, login = false } = {}) {
  byId("panel").hidden = false;
  byId("panel-title").textContent = title;
  byId("panel-text").textContent = text ?? "";
  byId("spinner").hidden = !busy;
  byId("start").hidden = !start;
  byId("login").hidden = !login;
}

/** A note that goes by itself after some seconds; 0 seconds: only when it is closed. Gives a function that closes it. */
export function toast(text, { tone = "", action, run, seconds = action ? 12 : 4 } = {}) {
  const element = document.createElement("div");
  element.className = "toast";
  element.dataset.tone = tone;
  const words = document.createElement("span");
  words.textContent = text;
  const button = (label, press) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = label;
    made.onclick = () => {
      element.remove();
      press?.();
      backToTerminal();
    };
    return made;
  };
  element.append(words);
  if (action) element.append(button(action, run));
  const close = button("×");
  close.className = "close";
  close.setAttribute("aria-label", "Close");
  element.append(close);
  const toasts = byId("toasts");
  for (const other of [...toasts.children]) if (other.firstChild.textContent === text) other.remove();
  toasts.append(element);
  while (toasts.children.length > 3) toasts.firstChild.remove();
  if (seconds) setTimeout(() => element.remove(), seconds * 1000);
  return () => element.remove();
}

export function setTitle(text) {
  // The program's words: no control or direction characters, and a bounded length.
  const clean = [...text.replace(/[\p{C}\u2028\u2029]/gu, "")].slice(0, 80).join("");
  document.title = clean && clean !== name ? `${clean} · ${name}` : `${name} · VisiData Hub`;
}

/** What stands for a list in a sentence. */
export function them(list) {
  return list.length > 1 ? "them" : "it";
}

/** "3 lines", "1 character". */
export function count(number, thing) {
  return `${number.toLocaleString()} ${thing}${number === 1 ? "" : "s"}`;
}
