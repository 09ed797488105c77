/**
 * The terminal page: its states, what it shows in each, and the calls to the other modules.
 *
 * `screen` draws (xterm.js), `link` carries (one WebSocket), `words` speaks, `settings` knows how it is to look. All that
 * can wait until the screen is there (pasting, the palette, the menus, the key bar, files) is `tools`. Nothing that comes
 * from the program or from a file name is ever treated as HTML. What is typed while there is no connection is never sent
 * later.
 *
 * For tests and assistive tools `#terminal` has the attributes `data-terminal-state` (waiting, connecting, connected,
 * reconnecting, ended, logged-out, gone) and `data-renderer` (webgl, html), and the method `hubScreen()`, which returns the
 * lines on the screen as text, and `hubSize()`: { cols, rows }.
 */

import { OURS, ask } from "./ask.js";
import { copy } from "./clipboard.js";
import { takeDrops } from "./files.js";
import { shortcut } from "./keys.js";
import { Connection } from "./link.js";
import { Screen } from "./screen.js";
import { listen, look, preferences } from "./settings.js";
import { guardLeaving } from "./window.js";
import { allowKeyboard, backToTerminal, byId, page, setTitle, show, showPanel, toast } from "./words.js";

const terminal = byId("terminal");
const BLOCKED_AFTER = 4; // Connections in a row; one or two fail when a replica leaves.
const base = `/sessions/${encodeURIComponent(page.dataset.session)}`;

let screen;
let connection = null;
let mode = "drive";
let decides = false; // This window decides the size, and answers what the program asks its terminal.
let attempts = 0;
let refused = 0; // Connections in a row that did not come about though the Hub answers.
let retry = null; // The wait for the next attempt: { timer, go }.
let placedBefore = false; // The page has said that keys are taken by their place.
let touched = false; // The person has typed in here since the page was opened.
let following; // Ends the following of a session that is not running.

const visible = () => document.visibilityState === "visible";

/** Whether the Hub is there, as far as is known. */
const live = () => Boolean(connection?.live) && !connection.silent;

const driving = () => live() && mode === "drive";

/** This window is worked in, so it decides the size. */
function claim() {
  if (mode === "watch") return;
  if (!screen?.claim() && driving() && !decides) connection.resize(screen.size.cols, screen.size.rows);
}

/** Whether keys are sent; where they are not, the page says so. */
function may(what) {
  if (driving()) return true;
  screenEvents.unsent(what);
  return false;
}

const screenEvents = {
  keys(bytes) {
    if (!driving()) {
      if (bytes[0] !== 27) this.unsent(); // What begins with Escape may be the mouse, or an answer of the screen's.
      return;
    }
    connection.keys(bytes);
    touched = true;
  },
  unsent(what = "that key") {
    if (mode === "watch") toast("You are watching: your keys are not sent.", { tone: "warn" });
    else if (live()) claim();
    else toast(`${connection?.live ? "The Hub does not answer" : "Not connected"}: ${what} was not sent.`, { tone: "warn" });
  },
  size(cols, rows) {
    if (connection?.live && mode === "drive") connection.resize(cols, rows);
  },
  title: setTitle,
  clipboard(text, byProgram = false) {
    // Every window of the session sees the program's wish; only the one that is worked in follows it.
    if (byProgram && (mode === "watch" || !document.hasFocus())) return;
    copy(text);
  },
  paste: (text) => tools().then(({ paste }) => paste(text)),
  files: (files) => tools().then(({ take }) => take(files)),
  menu: (x, y) => tools().then(({ openMenu }) => openMenu(x, y)),
  answers: () => decides && driving(),
  placed() {
    if (!placedBefore) toast("Your keyboard writes another script. VisiData's commands go by the key's place on a US keyboard.", { seconds: 12 });
    placedBefore = true;
  },
  unstuck: () => tools().then(({ unstick }) => unstick()),
  shortcut(event) {
    const what = shortcut(event);
    if (what) tools().then(({ act }) => act[what]());
    return Boolean(what);
  },
};

function connect() {
  cancelRetry();
  byId("panel").hidden = true;
  byId("stop").hidden = false;
  if (attempts === 0) show("connecting", "Connecting…");
  else show("reconnecting", "Reconnecting…", "warn");
  const greeted = { before: false };
  connection = new Connection(screen, visible() ? screen.size : null, {
    message: (message) => heard(message, greeted),
    silent: (is) => connection?.live && show("connected", is ? "No answer…" : "Connected", is ? "warn" : "good"),
    close: (code, reason, unsure) => {
      if (unsure && code === 1006) toast("What you typed last may not have arrived.", { tone: "warn", seconds: 8 });
      closed(code, reason, greeted.before);
    },
  });
}

function heard(message, greeted) {
  switch (message.type) {
    case "hello": {
      mode = message.mode;
      screen.term.options.disableStdin = mode === "watch";
      byId("watching").hidden = mode !== "watch";
      byId("stop").hidden = mode === "watch";
      // The screen may have been left in the middle of an escape sequence.
      if (attempts > 0 && !greeted.before) screen.term.write("\x18");
      attempts = refused = 0;
      byId("panel").hidden = true;
      show("connected", "Connected", "good");
      connection.ping();
      decides = message.yours;
      const same = message.cols === screen.size.cols && message.rows === screen.size.rows;
      if (!greeted.before && mode === "drive" && visible()) connection.resize(screen.size.cols, screen.size.rows);
      else if (decides) screen.lead(message);
      else if (!same || mode === "watch") screen.follow(message);
      if (!greeted.before && visible()) backToTerminal();
      greeted.before = true;
      break;
    }
    case "title":
      setTitle(message.text);
      break;
    case "deadline":
      setDeadline(message);
      break;
    case "pong":
      if (connection.live) byId("status").title = `Round trip ${Math.max(1, Math.round(connection.roundTrip))} ms`;
      break;
    case "state":
      if (message.state === "reconnecting") {
        // The Hub has lost the run for the moment. It often is back before anybody can read about it.
        connection.live = false;
        show("reconnecting", "Reconnecting to VisiData…", "warn");
      } else if (message.state === "leaving") {
        // To go first loses no key: what was typed before is ahead of our goodbye, and from here on nothing is sent.
        connection.close(1012, "");
      } else if (message.state === "stopping") show(terminal.dataset.terminalState, "Stopping…", "warn");
      else if (message.reason === "input_stuck") toast(message.text, { tone: "warn" });
      break;
  }
}

function closed(code, reason, greeted) {
  connection = null;
  setDeadline({ at: null });
  if (code === 4401) return loggedOut();
  if (code === 4403) return otherLogin();
  if (code === 4404) return gone();
  if (code === 1000 || code === 4409) return askState();
  if (code === 1013 && reason) toast(reason, { tone: "warn" });
  attempts += 1;
  refused = greeted || code === 1012 ? 0 : refused + 1;
  // A refusal before the upgrade looks like a broken line, so the session itself is asked before the next attempt.
  tryLater(greeted || code === 1012 ? connect : askState);
}

/**
 * Wait longer from time to time, with some chance in it so that all pages do not come back at once. The first wait is
 * short: a replica that leaves lets go of its pages one after the other, and by then another one is there to take them.
 */
function tryLater(go) {
  cancelRetry();
  const wait = Math.min(200 * 2 ** (attempts - 1), 5_000) * (0.5 + Math.random() / 2);
  const at = performance.now() + wait;
  const soon = wait < 1000;
  const tick = () => {
    const left = Math.ceil((at - performance.now()) / 1000);
    if (left <= 0) return tryNow();
    show("reconnecting", soon ? "Reconnecting…" : "Reconnecting", "warn", soon ? "" : `in ${left} s`);
    byId("now").hidden = soon;
  };
  retry = { go, timer: setInterval(soon ? tryNow : tick, soon ? wait : 250) };
  tick();
}

function tryNow() {
  const go = retry?.go;
  cancelRetry();
  go?.();
}

function cancelRetry() {
  clearInterval(retry?.timer);
  retry = null;
}

/** Ask what the session's state is, and act on it; while it is on its way, go on asking. */
async function askState() {
  following?.abort();
  const asking = (following = new AbortController());
  let waitFor = "";
  for (;;) {
    let found;
    try {
      const answer = await fetch(`${base}/state${waitFor}`, {
        headers: { accept: "application/json", ...OURS },
        cache: "no-store",
        signal: AbortSignal.any([asking.signal, AbortSignal.timeout(40_000)]),
      });
      if (answer.status === 401) return loggedOut();
      if (answer.status === 412) return otherLogin();
      if (answer.status === 403 || answer.status === 404) return gone();
      if (answer.status === 429) {
        const wait = Number(answer.headers.get("Retry-After")) || 5;
        show("reconnecting", "Too many requests: asking again", "warn", `in ${wait} s`);
        await new Promise((later) => setTimeout(later, wait * 1000));
        if (asking.signal.aborted) return;
        continue;
      }
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      found = await answer.json();
    } catch {
      if (asking.signal.aborted) return;
      attempts += 1;
      return tryLater(askState);
    }
    if (asking.signal.aborted) return;
    if (found.state === "running") {
      connect();
      if (refused >= BLOCKED_AFTER) blocked();
      return;
    }
    if (found.state === "stopped" || found.state === "failed") return ended(found);
    waiting(found);
    // Short enough to show what happens meanwhile, such as the place in the queue.
    waitFor = `?wait=running&timeout=5&seen=${encodeURIComponent(found.detail)}`;
    if (found.state === "stopping") await new Promise((later) => setTimeout(later, 500));
  }
}

/** The Hub answers, and its WebSockets do not come about: browsers do not say why. It goes on trying meanwhile. */
function blocked() {
  showPanel(
    "The terminal does not get through",
    "The Hub answers and the session runs, but the terminal's connection (a WebSocket) is refused on the way. A proxy in between " +
      `may not pass WebSockets on, or may change the address: the browser is at ${location.origin}. An administrator finds more under ` +
      "“Behind a proxy” in docs/operations.md. Trying again…",
    { busy: true },
  );
}

function waiting({ state, detail }) {
  attempts = 0;
  const titles = { queued: "Waiting for a free place", starting: "Starting VisiData", stopping: "Stopping" };
  const words = { queued: "Queued", starting: "Starting…", stopping: "Stopping…" };
  show("waiting", words[state] ?? state, "warn");
  const title = titles[state] ?? state;
  showPanel(title, detail === title ? "" : detail, { busy: true });
  byId("stop").hidden = state === "stopping";
}

function ended({ state, reason_text: reason, detail }) {
  attempts = 0;
  const failed = state === "failed";
  show("ended", failed ? "Failed" : "Stopped", failed ? "bad" : "");
  byId("stop").hidden = true;
  setTitle("");
  showPanel(failed ? "This session failed" : "This session is stopped", `${reason} ${detail}`, { start: true });
  byId("panel").focus(); // And not the button: an Enter that was still meant for VisiData would start it again.
}

function loggedOut() {
  show("logged-out", "Logged out", "bad");
  byId("stop").hidden = true;
  byId("login").href = `/login?next=${encodeURIComponent(location.pathname + location.search)}`;
  const text =
    page.dataset.guest === "yes"
      ? "You were a guest here. When a guest leaves, their sessions and files are deleted."
      : "The session itself continues. Log in to come back to it.";
  showPanel("You were logged out", text, { login: true });
  byId("login").focus();
}

/** The browser has another person's login now: nothing that is pressed here may be done in their name. */
function otherLogin() {
  show("logged-out", "Another login", "bad");
  byId("stop").hidden = true;
  byId("again").hidden = false;
  showPanel(
    "Another person is logged in",
    "This page was made for another login than this browser has now, so nothing is sent from here. The session itself continues. " +
      "Log out and log in as yourself to come back to it.",
  );
  byId("panel").focus();
}

function gone() {
  show("gone", "Not found", "bad");
  byId("stop").hidden = true;
  showPanel("There is no such session", "It may have been deleted, or it is not yours.");
}

// Deadlines

let deadline = null;

function setDeadline({ at, why }) {
  clearInterval(deadline?.timer);
  deadline = at ? { at: Date.parse(at), timer: setInterval(countDown, 1000) } : null;
  if (!at) byId("deadline-said").textContent = "";
  else if (byId("deadline").hidden) byId("deadline-said").textContent = `This session stops in ${leftOf(deadline)}.`;
  byId("deadline").hidden = !deadline;
  byId("stay").hidden = why === "too_old" || mode === "watch"; // Its age cannot be put off.
  if (deadline) countDown();
}

function leftOf({ at }) {
  const seconds = Math.max(0, Math.round((at - Date.now()) / 1000));
  return seconds < 60 ? `${seconds} s` : `${Math.ceil(seconds / 60)} min`;
}

function countDown() {
  const left = leftOf(deadline);
  byId("deadline-text").textContent = left === "0 s" ? "Stopping…" : `Stops in ${left}`;
}

// What people press

async function attempt(path, then) {
  try {
    await ask(`${base}/${path}`);
  } catch (error) {
    if (error.status === 401) return loggedOut();
    if (error.status === 412) return otherLogin();
    return void toast(error.message, { tone: "warn" });
  }
  then?.();
}

byId("start").addEventListener("submit", (event) => {
  event.preventDefault();
  waiting({ state: "starting" });
  attempt("start").then(askState);
});

byId("stop").addEventListener("submit", (event) => {
  event.preventDefault();
  byId("menu").open = false;
  tools().then(({ act }) => act.stop());
});

byId("stop-dialog").addEventListener("close", (event) => {
  if (event.target.returnValue === "stop") {
    attempt("stop", () => {
      show(terminal.dataset.terminalState, "Stopping…", "warn");
      if (!connection) askState();
    });
  }
  backToTerminal();
});

byId("stay").addEventListener("click", () => {
  attempt("stay", () => setDeadline({ at: null }));
  backToTerminal();
});

byId("now").addEventListener("click", () => {
  tryNow();
  backToTerminal();
});

byId("status").addEventListener("pointerenter", () => connection?.live && connection.ping());

// What the page can do beyond showing the screen, which comes after it

let loading;

/** The rest of the page (`tools.js`), loaded once, on first use or when there is time; `ahead` of its use it may fail. */
function tools({ ahead = false } = {}) {
  loading ??= import("./tools.js").then((module) => module.setUp({ screen, may, reason }));
  return loading.catch(() => {
    loading = undefined;
    const again = { action: "Load the page again", run: () => location.reload(), tone: "warn" };
    if (!ahead) toast("A part of this page did not arrive. The session continues.", again);
    return new Promise(() => {});
  });
}

/** Why nothing can be done with VisiData just now; empty where something can. */
function reason() {
  return !live() ? "Not connected" : mode === "watch" ? "You are watching" : "";
}

document.addEventListener("click", ({ target }) => {
  const what = target.closest("[data-do]")?.dataset.do;
  if (!byId("menu").contains(target) || what) byId("menu").open = false;
  if (what && screen) tools().then(({ act }) => act[what]());
});
byId("menu").addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    byId("menu").open = false;
    byId("menu").querySelector("summary").focus();
  }
});
document.addEventListener("keydown", (event) => {
  // The page's own keys work wherever on it the focus is; the terminal has dealt with them where it is there.
  const elsewhere = !event.defaultPrevented && screen && !document.querySelector("dialog[open]");
  if (elsewhere && screenEvents.shortcut(event)) event.preventDefault();
});

// What happens around the page

for (const event of ["online", "offline", "visibilitychange", "pageshow"]) {
  (event === "visibilitychange" ? document : window).addEventListener(event, () => {
    if (!visible()) return;
    if (retry) tryNow();
    else connection?.probe();
  });
}
window.addEventListener("focus", claim);
byId("screen").addEventListener("pointerdown", () => {
  claim();
  allowKeyboard();
});
// From the first moment on: what falls on a page that does not take it is shown in its place.
if (page.dataset.home === "yes") takeDrops(driving, (paths) => tools().then(({ open }) => open(paths)));
guardLeaving(() => touched && driving() && preferences().guard);
window.addEventListener("pagehide", () => connection?.close(1000));

// The keyboard of a phone lies over the page, and only this says how much is left.
window.visualViewport?.addEventListener("resize", () => {
  page.style.setProperty("--height", `${window.visualViewport.height}px`);
  window.scrollTo(0, 0);
});

if (document.fullscreenEnabled) byId("fullscreen").hidden = false;
terminal.hubScreen = () => screen?.lines() ?? [];
terminal.hubSize = () => screen?.size;

const first = page.dataset.state;
try {
  screen = await Screen.open(byId("screen"), look(), screenEvents);
} catch (error) {
  window.hubLoaded?.(false);
  throw error;
}
window.hubLoaded?.(true);
listen(() => screen.restyle(look()));
if (first === "running") connect();
else if (first === "stopped" || first === "failed") byId("status").dataset.tone = first === "failed" ? "bad" : "";
else askState();
// When there is time, and in any case soon: what is pressed meanwhile waits for it.
(window.requestIdleCallback ?? setTimeout)(() => tools({ ahead: true }), { timeout: 1_000 });
