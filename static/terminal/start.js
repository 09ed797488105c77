/**
 * Looks after the page until `main.js` has its screen: a part that does not arrive leaves neither a blank page nor one that
 * says "Running" for ever. A network that changes does that, as when a phone leaves the house: browsers then break off
 * what they are loading. A classic script, which needs no other; nothing of the terminal is in here.
 */
(() => {
  const TRIES = "hub-load-tries";
  const MOST = 2; // Times that the page is loaded again by itself.
  const byId = (id) => document.getElementById(id);
  let failing = false;
  let whole = false;

  function tried(count) {
    try {
      if (count === undefined) return Number(sessionStorage.getItem(TRIES));
      if (count) sessionStorage.setItem(TRIES, count);
      else sessionStorage.removeItem(TRIES);
    } catch {
      return MOST; // Without a memory, a person decides each time.
    }
  }

  function say(title, text, again) {
    byId("slow").hidden = true;
    byId("panel").hidden = false;
    byId("panel-title").textContent = title;
    byId("panel-text").textContent = text;
    byId("spinner").hidden = again;
    byId("start").hidden = true;
    byId("again").hidden = !again;
  }

  async function answers() {
    try {
      return (await fetch(`${location.pathname}/state`, { cache: "no-store" })).status < 500;
    } catch {
      return false;
    }
  }

  async function failed() {
    if (failing || whole) return;
    failing = true;
    const count = tried();
    if (count >= MOST) {
      tried(0);
      say("The terminal could not be loaded", "A part of this page did not arrive. The session itself continues.", true);
      return;
    }
    tried(count + 1);
    say("Loading the terminal again", "A part of this page did not arrive.", false);
    // Not before the Hub answers: a browser's own page about that has no way back.
    while (!(await answers())) await new Promise((later) => setTimeout(later, 1_000));
    if (!whole) location.reload();
  }

  // Only the page's own: extensions put in theirs, which may fail for reasons of their own.
  const own = (script) => script.type === "module" && script.src.startsWith(location.origin);
  addEventListener("error", ({ target }) => target instanceof HTMLScriptElement && own(target) && failed(), { capture: true });
  /** For `main.js`: the screen is there, or it cannot be. */
  window.hubLoaded = (is) => {
    if (!is) return failed();
    whole = true;
    tried(0);
    byId("slow").hidden = true;
  };
})();
