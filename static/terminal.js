/**
 * The terminal page: xterm.js on one side, the Hub's hub.tty.v1 WebSocket on the other, and words for what is going on.
 *
 * Three parts that know little of each other: `Screen` (xterm.js, fonts, colours, clipboard), `Connection` (one
 * WebSocket, its acknowledgements and pings) and the page, which decides what to do next. Nothing that comes from the
 * program or from a file name is ever treated as HTML. What is typed while there is no connection is never sent later.
 *
 * For tests and assistive tools `#terminal` has the attribute `data-terminal-state` (waiting, connecting, connected,
 * reconnecting, ended, logged-out, gone) and the method `hubScreen()`, which returns the lines on the screen as text.
 */

const byId = (id) => document.getElementById(id);
const page = byId("hub");
const terminal = byId("terminal");
const { session, name } = page.dataset;
const base = `/sessions/${encodeURIComponent(session)}`;

// ---------------------------------------------------------------------------------------------------------- colours

// Programs like VisiData are drawn for dark screens: white on black, bars in dark greys. On a light screen the whole
// palette is therefore turned over in lightness, hue for hue, so that "white on black" reads as ink on paper.
const DARK = {
  background: "#121417", foreground: "#d8dce0", cursor: "#2dd4bf", cursorAccent: "#121417",
  selectionBackground: "#2b5f5a", selectionInactiveBackground: "#2a3a3c",
  black: "#121417", red: "#f07178", green: "#8fce72", yellow: "#e6c06a",
  blue: "#6cb2f5", magenta: "#d09bf0", cyan: "#5fd0d3", white: "#d8dce0",
  brightBlack: "#7a848e", brightRed: "#ff8f94", brightGreen: "#aee890", brightYellow: "#ffdb8a",
  brightBlue: "#93caff", brightMagenta: "#e3b8ff", brightCyan: "#86ecee", brightWhite: "#ffffff",
};
const LIGHT = {
  background: "#fdfdfb", foreground: "#24292e", cursor: "#0f766e", cursorAccent: "#fdfdfb",
  selectionBackground: "#b5e3dd", selectionInactiveBackground: "#dcebe9",
  black: "#fdfdfb", red: "#b3262d", green: "#2c7a1f", yellow: "#8a5a00",
  blue: "#1259b0", magenta: "#8033ab", cyan: "#0b6e75", white: "#24292e",
  brightBlack: "#6a737c", brightRed: "#96141b", brightGreen: "#1d6112", brightYellow: "#6e4700",
  brightBlue: "#0a468f", brightMagenta: "#672490", brightCyan: "#07575d", brightWhite: "#000000",
  extendedAnsi: extendedColours().map(turnOver),
};

/** The colours 16 to 255 of xterm: a cube of 6×6×6, then 24 greys. */
function extendedColours() {
  const levels = [0, 95, 135, 175, 215, 255];
  const cube = Array.from({ length: 216 }, (_, i) => [levels[Math.floor(i / 36)], levels[Math.floor(i / 6) % 6], levels[i % 6]]);
  const greys = Array.from({ length: 24 }, (_, i) => Array(3).fill(8 + 10 * i));
  return [...cube, ...greys];
}

/** The same hue and saturation with the opposite lightness, as #rrggbb. */
function turnOver([red, green, blue]) {
  const sum = Math.max(red, green, blue) + Math.min(red, green, blue);
  return "#" + [red, green, blue].map((part) => (part + 255 - sum).toString(16).padStart(2, "0")).join("");
}

// ----------------------------------------------------------------------------------------------------------- screen

const FONT_SIZE = 14;
const FONTS = 'ui-monospace, "SF Mono", Menlo, Consolas, "Cascadia Mono", "DejaVu Sans Mono", "Liberation Mono", monospace';
const CLIPBOARD_LIMIT = 5_000_000; // Characters of text. A person copies less, and a program could ask for anything.

/** xterm.js, fitted to its element or, when another window decides the size, letterboxed in it. */
class Screen {
  #fit;
  #following = null; // The size that another window gave, while it decides.
  #copied;

  /** `on` has `keys(bytes)`, `unsent()`, `size(cols, rows)`, `title(text)`, `clipboard(text)`, `paste(text, why)`. */
  static async open(element, on) {
    const [{ Terminal }, { FitAddon }, { Unicode11Addon }, { WebLinksAddon }] = await Promise.all(
      ["xterm", "fit", "unicode11", "links"].map((part) => import(page.dataset[part])),
    );
    // xterm.js measures a character once, when it opens.
    await document.fonts.load(`${FONT_SIZE}px ${FONTS}`);
    const screen = new Screen();
    screen.element = element;
    screen.on = on;
    const term = (screen.term = new Terminal({
      allowProposedApi: true, // For the wider characters of Unicode 11.
      fontFamily: FONTS,
      fontSize: FONT_SIZE,
      scrollback: 0, // VisiData scrolls by itself, and no columns go to a scroll bar.
      macOptionClickForcesSelection: true,
      minimumContrastRatio: 3,
      drawBoldTextInBrightColors: false, // Bold black on a bar would be grey.
      linkHandler: { activate: (_, text) => openLink(text) },
    }));
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const paint = () => (term.options.theme = dark.matches ? DARK : LIGHT);
    dark.addEventListener("change", paint);
    paint();
    term.loadAddon((screen.#fit = new FitAddon()));
    term.loadAddon(new Unicode11Addon());
    term.unicode.activeVersion = "11";
    term.loadAddon(new WebLinksAddon((_, link) => openLink(link)));
    term.open(element);
    screen.#listen();
    screen.fit();
    screen.#useGraphics();
    return screen;
  }

  get size() {
    return { cols: this.term.cols, rows: this.term.rows };
  }

  get prompting() {
    // VisiData shows the cursor only where it asks for text.
    return this.cursorShown && !this.term.modes.bracketedPasteMode;
  }

  /** Take the size of the window, and say so when it is a new one. */
  fit() {
    if (this.#following) return this.follow(this.#following);
    const room = this.#fit.proposeDimensions();
    if (!room || Number.isNaN(room.cols) || !isShown(this.element)) return;
    const cols = Math.min(room.cols, 1000);
    const rows = Math.min(room.rows, 1000);
    if (cols === this.term.cols && rows === this.term.rows) return;
    this.term.resize(cols, rows);
    this.on.size(cols, rows);
  }

  /** Show the size that another window decided, smaller if need be. */
  follow(size) {
    this.#following = size;
    this.element.classList.add("letterbox");
    this.term.options.fontSize = FONT_SIZE;
    this.term.resize(size.cols, size.rows);
    const drawn = this.element.querySelector(".xterm-screen");
    const scale = Math.min(this.element.clientWidth / drawn.offsetWidth, this.element.clientHeight / drawn.offsetHeight);
    if (scale < 1) this.term.options.fontSize = Math.max(4, Math.floor(FONT_SIZE * scale * 2) / 2);
  }

  /** Decide the size again, as the window that is worked in. */
  claim() {
    if (!this.#following) return;
    this.#following = null;
    this.element.classList.remove("letterbox");
    this.term.options.fontSize = FONT_SIZE;
    this.fit();
    this.on.size(this.term.cols, this.term.rows);
  }

  /** The lines on the screen, as text. */
  lines() {
    const { active } = this.term.buffer;
    return Array.from({ length: this.term.rows }, (_, row) => active.getLine(active.viewportY + row)?.translateToString(true) ?? "");
  }

  paste(text) {
    this.term.paste(text);
  }

  #listen() {
    const { term, element, on } = this;
    const encoder = new TextEncoder();
    term.onData((text) => on.keys(encoder.encode(text)));
    term.onBinary((text) => on.keys(Uint8Array.from(text, (character) => character.charCodeAt(0))));
    term.onKey(() => on.unsent());
    term.onTitleChange((text) => on.title(text));
    term.attachCustomKeyEventHandler((event) => this.#key(event));
    this.cursorShown = true;
    for (const final of ["h", "l"]) {
      term.parser.registerCsiHandler({ prefix: "?", final }, (modes) => {
        if (modes.includes(25)) this.cursorShown = final === "h";
        return false;
      });
    }
    term.parser.registerOscHandler(52, (data) => this.#offerClipboard(data));
    element.addEventListener("paste", (event) => this.#catchPaste(event), { capture: true });
    element.addEventListener("contextmenu", (event) => {
      // In mouse mode the program gets the right button; Shift still opens the browser's menu.
      if (term.modes.mouseTrackingMode !== "none" && !event.shiftKey) event.preventDefault();
    });
    let resizing;
    new ResizeObserver(() => {
      clearTimeout(resizing);
      resizing = setTimeout(() => this.fit(), 100);
    }).observe(element);
  }

  #key(event) {
    if (event.type !== "keydown" || event.altKey) return true;
    const key = event.key.toLowerCase();
    if (event.ctrlKey && key === "c" && this.term.hasSelection()) {
      const text = this.term.getSelection();
      this.term.clearSelection();
      this.on.clipboard(text);
      event.preventDefault();
      return false;
    }
    return !(event.ctrlKey && key === "v"); // The browser then pastes.
  }

  /** A program sets the clipboard (OSC 52). It may write, never read. */
  #offerClipboard(data) {
    const cut = data.indexOf(";");
    const [selection, encoded] = [data.slice(0, cut), data.slice(cut + 1)];
    if (cut < 0 || !["", "c"].includes(selection) || encoded === "?") return true;
    try {
      if (encoded.length > CLIPBOARD_LIMIT * 1.4) throw new Error("too long");
      const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
      this.on.clipboard(new TextDecoder().decode(bytes));
    } catch {
      this.on.clipboard(null);
    }
    return true;
  }

  /** VisiData takes pasted text for commands, so only what is plainly text for a prompt is typed unasked. */
  #catchPaste(event) {
    event.preventDefault();
    event.stopPropagation();
    const text = (event.clipboardData?.getData("text/plain") ?? "").replace(/(\r?\n)+$/, "");
    if (!text) return;
    const characters = [...text].length;
    if (this.term.modes.bracketedPasteMode) this.paste(text);
      else if (/[\x00-\x1f\x7f-\x9f]/.test(text)) this.on.paste(text, "It has more than one line, or control characters.");
    else if (characters > 1 && !this.prompting) this.on.paste(text, "Here it would run as commands.");
    else this.paste(text);
  }

  /** Draw with WebGL where there is one, and go back to HTML when the browser takes it away. */
  async #useGraphics() {
    try {
      const { WebglAddon } = await import(page.dataset.webgl);
      const webgl = new WebglAddon();
      webgl.onContextLoss(() => {
        webgl.dispose();
        this.term.refresh(0, this.term.rows - 1);
      });
      this.term.loadAddon(webgl);
    } catch {
      // The HTML renderer draws the same, only slower.
    }
  }
}

function isShown(element) {
  return element.clientWidth > 0 && element.clientHeight > 0;
}

function openLink(text) {
  if (/^https?:\/\//i.test(text)) window.open(text, "_blank", "noopener,noreferrer");
}

// ------------------------------------------------------------------------------------------------------- connection

const ACK_EVERY = 128 * 1024; // Bytes. A third of what the Hub lets be in flight, so that it never waits for long.
const MESSAGE = 32 * 1024; // Bytes of keys in one message; the Hub takes twice that.
const FIRST_MESSAGE = 10_000; // Milliseconds, like the next three.
const PING_EVERY = 20_000;
const SILENCE = 45_000;
const PROBE = 5_000;

/** One WebSocket, from its opening to its close. Calls `on.message(object)` and, once, `on.close(code, reason)`. */
class Connection {
  live = false; // The Hub has said hello, so keys go somewhere.
  roundTrip = null;
  #socket;
  #screen;
  #on;
  #timers = [];
  #written = 0;
  #acked = 0;
  #queued = 0;
  #pinged = 0;
  #heard = performance.now();

  constructor(screen, size, on) {
    this.#screen = screen;
    this.#on = on;
    const url = new URL(`${base}/tty`, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    // A window nobody looks at does not decide the size.
    if (size) url.search = new URLSearchParams(size);
    const socket = (this.#socket = new WebSocket(url, ["hub.tty.v1"]));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#send({ type: "ack", bytes: 0 }); // From the first byte on, the Hub waits for us.
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code, reason }) => this.close(code, reason);
    this.#timers.push(setTimeout(() => this.live || this.close(1006, ""), FIRST_MESSAGE));
    this.#timers.push(setInterval(() => this.#check(), PING_EVERY / 4));
  }

  keys(bytes) {
    for (let at = 0; at < bytes.length; at += MESSAGE) this.#socket.send(bytes.subarray(at, at + MESSAGE));
  }

  resize(cols, rows) {
    this.#send({ type: "resize", cols, rows });
  }

  /** Find out now whether the other end is there. */
  probe() {
    const asked = performance.now();
    this.#ping();
    this.#timers.push(setTimeout(() => this.#heard < asked && this.close(1006, ""), PROBE));
  }

  close(code = 1000, reason = "") {
    if (!this.#socket) return;
    const socket = this.#socket;
    this.#socket = null;
    this.live = false;
    this.#timers.forEach(clearTimeout);
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    this.#on.close(code, reason);
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #receive(data) {
    this.#heard = performance.now();
    if (typeof data !== "string") return this.#write(new Uint8Array(data));
    const message = JSON.parse(data);
    if (message.type === "pong") this.roundTrip = performance.now() - this.#pinged;
    if (message.type === "hello") this.live = true;
    this.#on.message(message);
  }

  #write(bytes) {
    this.#queued += 1;
    this.#screen.term.write(bytes, () => {
      this.#queued -= 1;
      this.#written += bytes.length;
      if (this.#written - this.#acked >= ACK_EVERY || this.#queued === 0) {
        this.#acked = this.#written;
        this.#send({ type: "ack", bytes: this.#written });
      }
    });
  }

  #ping() {
    this.#pinged = performance.now();
    this.#send({ type: "ping" });
  }

  #check() {
    const now = performance.now();
    if (now - this.#heard > SILENCE) this.close(1006, "");
    else if (now - this.#pinged >= PING_EVERY) this.#ping();
  }
}

// ------------------------------------------------------------------------------------------------------- the words

/** What the bar and the panel say. `tone` colours the dot: good, warn, bad or nothing. */
function show(state, text, tone = "", countdown = "") {
  terminal.dataset.terminalState = state;
  byId("status").dataset.tone = tone;
  // Only a new text is read out, and the seconds never are.
  if (byId("status-text").textContent !== text) byId("status-text").textContent = text;
  byId("countdown").textContent = countdown;
  if (state !== "reconnecting") byId("now").hidden = true;
  if (state !== "connected") byId("status").title = "";
}

function showPanel(title, text, { busy = false, start = false, login = false } = {}) {
  byId("panel").hidden = false;
  byId("panel-title").textContent = title;
  byId("panel-text").textContent = text ?? "";
  byId("spinner").hidden = !busy;
  byId("start").hidden = !start;
  byId("login").hidden = !login;
}

function toast(text, { tone = "", action, run, seconds = action ? 12 : 4 } = {}) {
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
      screen?.term.focus();
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
  setTimeout(() => element.remove(), seconds * 1000);
}

function setTitle(text) {
  // The program's words: no control or direction characters, and not for ever.
  const clean = [...text.replace(/[\p{C}\u2028\u2029]/gu, "")].slice(0, 80).join("");
  document.title = clean && clean !== name ? `${clean} · ${name}` : `${name} · VisiData Hub`;
}

// ---------------------------------------------------------------------------------------------------------- the page

let screen;
let connection;
let mode = "drive";
let attempts = 0;
let retry = null; // The wait for the next attempt: { timer, at, go }.
let stopping; // Ends the following of a session that is not running.

const visible = () => document.visibilityState === "visible";

const screenEvents = {
  keys(bytes) {
    if (connection?.live && mode === "drive") connection.keys(bytes);
  },
  unsent() {
    if (mode === "watch") toast("You are watching: your keys are not sent.", { tone: "warn" });
    else if (connection?.live) screen.claim();
    else toast("Not connected: that key was not sent.", { tone: "warn" });
  },
  size(cols, rows) {
    if (connection?.live && mode === "drive") connection.resize(cols, rows);
  },
  title: setTitle,
  async clipboard(text) {
    if (text === null || text.length > CLIPBOARD_LIMIT) return toast("Not copied: it is too long or damaged.", { tone: "warn" });
    // Every window of the session sees the program's wish; only the one that is worked in follows it.
    if (mode === "watch" || !document.hasFocus()) return;
    const done = () => toast(`Copied ${text.length.toLocaleString()} ${text.length === 1 ? "character" : "characters"}.`);
    try {
      await navigator.clipboard.writeText(text);
      done();
    } catch {
      const run = () => navigator.clipboard?.writeText(text).then(done, () => toast("The browser does not allow copying here.", { tone: "warn" }));
      toast("The browser did not allow copying by itself.", { tone: "warn", action: "Copy it", run });
    }
  },
  paste(text, why) {
    if (!connection?.live || mode === "watch") return this.unsent();
    toast(`The paste was not typed. ${why}`, {
      tone: "warn",
      action: "Type it anyway",
      run: () => (connection?.live ? screen.paste(text) : screenEvents.unsent()),
    });
  },
};

function connect() {
  cancelRetry();
  byId("panel").hidden = true;
  byId("menu").hidden = false;
  if (attempts === 0) show("connecting", "Connecting…");
  else show("reconnecting", "Reconnecting…", "warn");
  const greeted = { before: false };
  connection = new Connection(screen, visible() ? screen.size : null, {
    message: (message) => heard(message, greeted),
    close: (code, reason) => closed(code, reason, greeted.before),
  });
}

function heard(message, greeted) {
  switch (message.type) {
    case "hello": {
      mode = message.mode;
      screen.term.options.disableStdin = mode === "watch";
      byId("watching").hidden = mode !== "watch";
      byId("menu").hidden = mode === "watch";
      // The screen may have been left in the middle of an escape sequence.
      if (attempts > 0 && !greeted.before) screen.term.write("\x18");
      attempts = 0;
      byId("panel").hidden = true;
      show("connected", "Connected", "good");
      const same = message.cols === screen.size.cols && message.rows === screen.size.rows;
      if (!greeted.before && mode === "drive" && visible()) connection.resize(screen.size.cols, screen.size.rows);
      else if (!same) screen.follow(message);
      if (!greeted.before && visible() && !document.querySelector("dialog[open]")) screen.term.focus();
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
      byId("status").title = `Round trip ${Math.max(1, Math.round(connection.roundTrip))} ms`;
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
  if (code === 4403 || code === 4404) return gone();
  if (code === 1000 || code === 4409) return look();
  if (code === 1013 && reason) toast(reason, { tone: "warn" });
  attempts += 1;
  // A refusal before the upgrade looks like a broken line, so the session itself is asked before the next attempt.
  tryLater(greeted || code === 1012 ? connect : look);
}

/**
 * Wait longer from time to time, with some chance in it so that all pages do not come back at once. The first wait is
 * short: a replica that leaves lets go of its pages one after the other, and by then another one is there to take them.
 */
function tryLater(go) {
  cancelRetry();
  const wait = Math.min(200 * 2 ** (attempts - 1), 5_000) * (0.5 + Math.random() / 2);
  retry = { go, at: performance.now() + wait, timer: setInterval(() => tick(), 250) };
  const tick = () => {
    const left = Math.ceil((retry.at - performance.now()) / 1000);
    if (left <= 0) return tryNow();
    show("reconnecting", wait < 1000 ? "Reconnecting…" : "Reconnecting", "warn", wait < 1000 ? "" : `in ${left} s`);
    byId("now").hidden = wait < 1000;
  };
  tick();
  if (wait < 1000) {
    clearInterval(retry.timer);
    retry.timer = setTimeout(tryNow, wait);
  }
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
async function look() {
  stopping?.abort();
  const asking = (stopping = new AbortController());
  let waitFor = "";
  for (;;) {
    let found;
    try {
      const answer = await fetch(`${base}/state${waitFor}`, {
        headers: { accept: "application/json" },
        cache: "no-store",
        signal: AbortSignal.any([asking.signal, AbortSignal.timeout(40_000)]),
      });
      if (answer.status === 401) return loggedOut();
      if (answer.status === 403 || answer.status === 404) return gone();
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      found = await answer.json();
    } catch {
      if (asking.signal.aborted) return;
      attempts += 1;
      return tryLater(look);
    }
    if (asking.signal.aborted) return;
    if (found.state === "running") return connect();
    if (found.state === "stopped" || found.state === "failed") return ended(found);
    waiting(found);
    // Short enough to show what happens meanwhile, such as the place in the queue.
    waitFor = `?wait=running&timeout=5&seen=${encodeURIComponent(found.detail)}`;
    if (found.state === "stopping") await new Promise((later) => setTimeout(later, 500));
  }
}

function waiting({ state, detail }) {
  attempts = 0;
  const titles = { queued: "Waiting for a free place", starting: "Starting VisiData", stopping: "Stopping" };
  const words = { queued: "Queued", starting: "Starting…", stopping: "Stopping…" };
  show("waiting", words[state] ?? state, "warn");
  const title = titles[state] ?? state;
  showPanel(title, detail === title ? "" : detail, { busy: true });
  byId("menu").hidden = state === "stopping";
}

function ended({ state, reason_text: reason, detail }) {
  attempts = 0;
  const failed = state === "failed";
  show("ended", failed ? "Failed" : "Stopped", failed ? "bad" : "");
  byId("menu").hidden = true;
  byId("menu").open = false;
  setTitle("");
  showPanel(failed ? "This session could not go on" : "This session is stopped", `${reason} ${detail}`, { start: true });
  byId("start").querySelector("button").focus();
}

function loggedOut() {
  show("logged-out", "Logged out", "bad");
  byId("menu").hidden = true;
  byId("login").href = `/login?next=${encodeURIComponent(location.pathname)}`;
  showPanel("You were logged out", "The session itself goes on. Log in to come back to it.", { login: true });
  byId("login").focus();
}

function gone() {
  show("gone", "Not here", "bad");
  byId("menu").hidden = true;
  showPanel("There is no such session", "It may have been deleted, or it is not yours.");
}

// Deadlines

let deadline = null;

function setDeadline({ at, why }) {
  clearInterval(deadline?.timer);
  deadline = at ? { at: Date.parse(at), timer: setInterval(countDown, 1000) } : null;
  byId("deadline").hidden = !deadline;
  byId("stay").hidden = why === "too_old" || mode === "watch"; // Its age cannot be put off.
  if (deadline) countDown();
}

function countDown() {
  const seconds = Math.max(0, Math.round((deadline.at - Date.now()) / 1000));
  const left = seconds < 60 ? `${seconds} s` : `${Math.ceil(seconds / 60)} min`;
  byId("deadline-text").textContent = seconds ? `Stops in ${left}` : "Stopping…";
}

// What people press

async function post(path) {
  const answer = await fetch(`${base}/${path}`, { method: "POST", headers: { accept: "application/json" } });
  if (answer.status === 401) return loggedOut();
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    throw new Error(problem.detail ?? problem.title ?? "The Hub did not do that.");
  }
}

async function attempt(path, then) {
  try {
    await post(path);
    then?.();
  } catch (error) {
    toast(error instanceof TypeError ? "The Hub cannot be reached just now." : error.message, { tone: "warn" });
  }
}

byId("start").addEventListener("submit", (event) => {
  event.preventDefault();
  waiting({ state: "starting" });
  attempt("start").then(look);
});

byId("stop").addEventListener("submit", (event) => {
  event.preventDefault();
  byId("menu").open = false;
  byId("stop-dialog").returnValue = "keep";
  byId("stop-dialog").showModal();
});

byId("stop-dialog").addEventListener("close", (event) => {
  if (event.target.returnValue === "stop") {
    attempt("stop", () => {
      show(terminal.dataset.terminalState, "Stopping…", "warn");
      if (!connection) look();
    });
  }
  screen?.term.focus();
});

byId("stay").addEventListener("click", () => {
  attempt("stay", () => setDeadline({ at: null }));
  screen.term.focus();
});

byId("now").addEventListener("click", () => {
  tryNow();
  screen.term.focus();
});

document.addEventListener("click", (event) => {
  if (!byId("menu").contains(event.target)) byId("menu").open = false;
});
byId("menu").addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    byId("menu").open = false;
    byId("menu").querySelector("summary").focus();
  }
});

if (document.fullscreenEnabled) {
  byId("fullscreen").hidden = false;
  byId("fullscreen").addEventListener("click", () => {
    if (document.fullscreenElement) document.exitFullscreen();
    else document.documentElement.requestFullscreen();
    screen?.term.focus();
  });
}

// What happens around the page

for (const event of ["online", "visibilitychange", "pageshow"]) {
  (event === "visibilitychange" ? document : window).addEventListener(event, () => {
    if (!visible()) return;
    if (retry) tryNow();
    else connection?.probe();
  });
}
window.addEventListener("focus", () => screen?.claim());
byId("screen").addEventListener("pointerdown", () => screen?.claim());
window.addEventListener("pagehide", () => connection?.close(1000));

// The keyboard of a phone lies over the page, and only this says how much is left.
window.visualViewport?.addEventListener("resize", () => {
  page.style.setProperty("--height", `${window.visualViewport.height}px`);
  window.scrollTo(0, 0);
});

terminal.hubScreen = () => screen?.lines() ?? [];

const first = page.dataset.state;
screen = await Screen.open(byId("screen"), screenEvents);
if (first === "running") connect();
else if (first === "stopped" || first === "failed") byId("status").dataset.tone = first === "failed" ? "bad" : "";
else look();
