/** The window around the terminal: full screen with all keys, and the question before a tab closes. */

import { backToTerminal, byId, toast } from "./words.js";

/** Whether full screen can also have the keys that a tab does not get. Only some browsers have this, and only on https. */
const locksKeys = Boolean(navigator.keyboard?.lock);

export async function toggleFullScreen() {
  if (document.fullscreenElement) return document.exitFullscreen();
  try {
    await document.documentElement.requestFullscreen({ navigationUI: "hide" });
  } catch {
    return toast("The browser does not allow full screen here.", { tone: "warn" });
  }
  const locked = locksKeys && (await navigator.keyboard.lock().then(() => true, () => false));
  toast(
    locked
      ? "Full screen: all keys go to VisiData. Hold Esc to leave."
      : "Full screen. Esc leaves it, so VisiData does not get that key: it is in the palette (Ctrl+,).",
    { seconds: 6 },
  );
  backToTerminal();
}

export function setUpFullScreen() {
  document.addEventListener("fullscreenchange", () => {
    const full = Boolean(document.fullscreenElement);
    if (!full) navigator.keyboard?.unlock?.();
    byId("fullscreen").setAttribute("aria-pressed", String(full));
  });
}

/**
 * Ask before the tab closes while `risky()`. The session goes on without it, so this is for the habit of Ctrl-W; the
 * page's own ways out mean it, and an app's window has no such key.
 */
export function guardLeaving(risky) {
  let meant = false;
  const ways = (event) => {
    if (event.type === "submit" || event.target.closest?.("a[href]:not([target])")) {
      meant = true;
      setTimeout(() => (meant = false), 1000); // It may have been stopped on its way.
    }
  };
  document.addEventListener("click", ways);
  document.addEventListener("submit", ways);
  addEventListener("beforeunload", (event) => {
    const tab = matchMedia("(display-mode: browser)").matches;
    if (tab && !meant && risky()) event.preventDefault();
  });
}
