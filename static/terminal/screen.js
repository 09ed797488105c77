/** The screen: xterm.js, fitted to its element, with the person's colours and font, and what keys and the mouse do on it. */

import { coloursOf } from "./colours.js";
import { byPlace, control, isForeign, sequence } from "./keys.js";
import { CLIPBOARD_LIMIT } from "./clipboard.js";
import { page } from "./words.js";
import { cellsOf, provider } from "./widths.js";

const MIN_ROWS = 4; // The Hub gives a program no fewer: VisiData would hide an open prompt.
const CLICK = 60; // Milliseconds that a button is down. VisiData takes what is shorter for a key that it does not know.

/** xterm.js, fitted to its element or, when another window decides the size, letterboxed in it. */
export class Screen {
  /** "ctrl" while the next character is to be one typed with Ctrl, as the key bar has it; then nothing again. */
  sticky = "";
  prompting = false; // VisiData asks for text, as far as can be seen from here: it shows the cursor only then.
  #fit;
  #look; // { colours: "light" | "dark" | "contrast", family, size, reader }
  #reader;
  #small = false; // The font is smaller than the look says, so that `MIN_ROWS` fit in.
  #following = null; // The size that another window gave, while it decides.

  /**
   * `look` as `restyle` takes it. `on` has `keys(bytes)`, `unsent()`, `size(cols, rows)`, `title(text)`,
   * `clipboard(text)`, `paste(text)`, `files(list)`, `menu(x, y)`, `unstuck()` (the sticky key was used),
   * `placed()` (a key of another script was taken by its place),
   * `shortcut(event)`, which says whether the page took the key, and `answers()`: whether this window answers the program.
   */
  static async open(element, look, on) {
    const [{ Terminal }, { FitAddon }, { WebLinksAddon }] = await Promise.all(
      ["xterm", "fit", "links"].map((part) => import(page.dataset[part])),
    );
    // xterm.js measures a character once, when it opens.
    await document.fonts.load(`${look.size}px ${look.family}`);
    const screen = new Screen();
    screen.element = element;
    screen.on = on;
    screen.#look = look;
    const term = (screen.term = new Terminal({
      allowProposedApi: true, // For the widths of characters.
      ...optionsOf(look),
      scrollback: 0, // VisiData scrolls by itself, and no columns go to a scroll bar.
      macOptionClickForcesSelection: true,
      drawBoldTextInBrightColors: false, // Bold black on a bar would be grey.
      linkHandler: { activate: (_, text) => openLink(text) },
    }));
    term.loadAddon((screen.#fit = new FitAddon()));
    term.unicode.register(provider);
    term.unicode.activeVersion = provider.version;
    term.loadAddon(new WebLinksAddon((_, link) => openLink(link)));
    term.open(element);
    screen.#listen();
    screen.#read();
    screen.fit();
    screen.#useGraphics();
    return screen;
  }

  get size() {
    return { cols: this.term.cols, rows: this.term.rows };
  }

  /** Whether the program can tell a paste from typing, and wants one: then a paste is never taken for commands. */
  get pasteable() {
    return this.term.modes.bracketedPasteMode;
  }

  get mouse() {
    return this.term.modes.mouseTrackingMode !== "none";
  }

  /** Set colours, font and size again; a change of size changes the columns too. */
  restyle(look) {
    this.#look = look;
    Object.assign(this.term.options, optionsOf(look));
    this.#read();
    this.fit();
  }

  /** With a screen reader: read the row under the cursor. xterm.js by itself reads everything that is drawn. */
  async #read() {
    if (!this.#look.reader) return this.#reader?.off();
    const { Reader } = await import("./reader.js");
    this.#reader ??= new Reader(this.term);
    this.#reader.on();
  }

  /** Take the size of the window, and say so when it is a new one. */
  fit() {
    if (this.#following) return this.follow(this.#following);
    if (!isShown(this.element)) return;
    if (this.#small) this.term.options.fontSize = this.#look.size;
    let room = this.#fit.proposeDimensions();
    if (!room || Number.isNaN(room.cols)) return;
    this.#small = room.rows < MIN_ROWS;
    if (this.#small) {
      const share = this.element.clientHeight / (MIN_ROWS * this.#rowHeight());
      this.term.options.fontSize = Math.max(4, Math.floor(this.#look.size * Math.min(share, 1) * 2) / 2);
      room = this.#fit.proposeDimensions();
    }
    const cols = Math.min(room.cols, 1000);
    const rows = Math.min(Math.max(room.rows, MIN_ROWS), 1000);
    if (cols === this.term.cols && rows === this.term.rows) return;
    this.term.resize(cols, rows);
    this.on.size(cols, rows);
  }

  #rowHeight() {
    return this.element.querySelector(".xterm-screen").offsetHeight / this.term.rows;
  }

  /** Show the size that another window decided, smaller if need be. */
  follow(size) {
    this.#following = size;
    this.element.classList.add("letterbox");
    this.term.options.fontSize = this.#look.size;
    this.term.resize(size.cols, size.rows);
    const drawn = this.element.querySelector(".xterm-screen");
    const scale = Math.min(this.element.clientWidth / drawn.offsetWidth, this.element.clientHeight / drawn.offsetHeight);
    if (scale < 1) this.term.options.fontSize = Math.max(4, Math.floor(this.#look.size * scale * 2) / 2);
  }

  /** This window decides the size (again): the one that did has gone. */
  lead(size) {
    if (this.#following) {
      this.#unfollow();
      this.fit();
    }
    // The Hub knows the size that this window gave last, and while it followed it gave none.
    const { cols, rows } = this.term;
    if (cols !== size.cols || rows !== size.rows) this.on.size(cols, rows);
  }

  #unfollow() {
    this.#following = null;
    this.element.classList.remove("letterbox");
    this.term.options.fontSize = this.#look.size;
  }

  /** Decide the size again, as the window that is worked in; false where no other did. */
  claim() {
    if (!this.#following) return false;
    this.#unfollow();
    this.fit();
    this.on.size(this.term.cols, this.term.rows);
    return true;
  }

  /** The lines on the screen, as text. */
  lines() {
    const { active } = this.term.buffer;
    return Array.from({ length: this.term.rows }, (_, row) => active.getLine(active.viewportY + row)?.translateToString(true) ?? "");
  }

  /** Press a key by its name: Esc, Tab, Enter, Up, PgDn... with the sticky Ctrl, where that is down. */
  press(name) {
    const ctrl = this.#unstick();
    this.type(sequence(name, { ctrl, application: this.term.modes.applicationCursorKeysMode }));
  }

  /** Send text as if it was typed. */
  type(text) {
    this.#unstick();
    this.term.input(text, true);
  }

  /** Paste as the program wants it: marked as a paste where it asked for that, else as plain typing. */
  paste(text) {
    // What is marked must not hold the mark that ends it.
    this.term.paste(this.pasteable ? text.replaceAll("\x1b", "") : text);
  }

  /** Hand the right button to the program, at that point of the page: the page's own menu has taken it else. */
  clickRight(clientX, clientY) {
    const at = { button: 2, clientX, clientY, bubbles: true, cancelable: true };
    const target = this.element.querySelector(".xterm-screen");
    const send = (kind, buttons) => target.dispatchEvent(Object.assign(new MouseEvent(kind, { ...at, buttons }), { forProgram: true }));
    send("mousedown", 2);
    setTimeout(() => send("mouseup", 0), CLICK);
  }

  #listen() {
    const { term, element, on } = this;
    const encoder = new TextEncoder();
    term.onData((text) => on.keys(encoder.encode(this.#modified(text))));
    term.onBinary((text) => on.keys(Uint8Array.from(text, (character) => character.charCodeAt(0))));
    term.onKey(() => on.unsent());
    element.addEventListener("beforeinput", (event) => this.#inserted(event), { capture: true });
    term.onTitleChange((text) => on.title(text));
    term.attachCustomKeyEventHandler((event) => this.#key(event));
    this.#leaveAnswers();
    for (const final of ["h", "l"]) {
      term.parser.registerCsiHandler({ prefix: "?", final }, (modes) => {
        if (modes.includes(25)) this.prompting = final === "h";
        return false;
      });
    }
    term.parser.registerOscHandler(52, (data) => this.#offerClipboard(data));
    element.addEventListener("paste", (event) => this.#catchPaste(event), { capture: true });
    for (const kind of ["mousedown", "mouseup", "contextmenu"]) {
      element.addEventListener(kind, (event) => this.#rightButton(event), { capture: true });
    }
    let resizing;
    new ResizeObserver(() => {
      clearTimeout(resizing);
      resizing = setTimeout(() => this.fit(), 100);
    }).observe(element);
  }

  #key(event) {
    if (event.type !== "keydown") return true;
    if (this.on.shortcut(event)) {
      event.preventDefault();
      return false;
    }
    if (event.altKey) return true;
    const key = event.key.toLowerCase();
    const copies = event.metaKey ? key === "c" : event.ctrlKey && (key === "c" || key === "insert");
    if (copies && this.term.hasSelection()) {
      this.copySelection();
      event.preventDefault();
      return false;
    }
    if (event.metaKey) return true;
    // VisiData's commands are Latin letters and punctuation. In its prompts, every script is text.
    if (!event.ctrlKey && !this.prompting && isForeign(event) && byPlace(event)) {
      event.preventDefault();
      this.type(byPlace(event));
      this.on.placed();
      return false;
    }
    if (event.ctrlKey && event.shiftKey && key === "c") {
      event.preventDefault(); // Where nothing is selected, it neither stops VisiData nor opens the browser's tools.
      return false;
    }
    return !(event.ctrlKey && key === "v"); // The browser then pastes.
  }

  copySelection() {
    const text = this.term.getSelection();
    this.term.clearSelection();
    this.on.clipboard(text);
  }

  /** The right button opens the page's menu; with Shift, the browser's own. */
  #rightButton(event) {
    if (event.forProgram || event.shiftKey) return;
    const asked = event.type === "contextmenu";
    if (!asked && event.button !== 2) return;
    event.stopPropagation();
    if (!asked) return;
    event.preventDefault();
    this.on.menu(event.clientX, event.clientY);
  }

  #unstick() {
    const ctrl = this.sticky === "ctrl";
    this.sticky = "";
    if (ctrl) this.on.unstuck();
    return ctrl;
  }

  #modified(text) {
    if (!this.sticky || [...text].length !== 1) return text;
    this.#unstick();
    return control(text) ?? text;
  }

  /** A program sets the clipboard (OSC 52). It may write, never read. */
  #offerClipboard(data) {
    const cut = data.indexOf(";");
    const [selection, encoded] = [data.slice(0, cut), data.slice(cut + 1)];
    if (cut < 0 || !["", "c"].includes(selection) || encoded === "?") return true;
    try {
      if (encoded.length > CLIPBOARD_LIMIT * 1.4) throw new Error("too long");
      const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
      this.on.clipboard(new TextDecoder().decode(bytes), true);
    } catch {
      this.on.clipboard(null, true);
    }
    return true;
  }

  #catchPaste(event) {
    event.preventDefault();
    event.stopPropagation();
    const { files } = event.clipboardData ?? {};
    const text = event.clipboardData?.getData("text/plain") ?? "";
    if (text) this.on.paste(text);
    else if (files?.length) this.on.files([...files]);
  }

  /**
   * A keyboard on the screen inserts text. All but what it composes, and single characters, is no typing: a piece of the
   * clipboard, a word that it proposes, something dragged here. The person did not ask for what that would do as commands.
   */
  #inserted(event) {
    this.on.unsent(); // xterm.js tells of keys only.
    if (event.isComposing || !/^insert(Text|FromDrop|FromYank|ReplacementText)$/.test(event.inputType)) return;
    const text = event.data ?? event.dataTransfer?.getData("text/plain") ?? "";
    if (isCharacter(text)) return;
    event.preventDefault();
    event.stopPropagation();
    this.on.paste(text);
  }

  /**
   * What a program asks its terminal (what it is, where the cursor stands, which colours it has) one window answers, and
   * not each: a second answer would be typed into whatever comes next.
   */
  #leaveAnswers() {
    const { parser } = this.term;
    const swallow = () => !this.on.answers();
    for (const prefix of ["", ">", "="]) parser.registerCsiHandler({ prefix, final: "c" }, swallow);
    for (const prefix of ["", "?"]) {
      parser.registerCsiHandler({ prefix, final: "n" }, swallow);
      parser.registerCsiHandler({ prefix, intermediates: "$", final: "p" }, swallow);
    }
    parser.registerDcsHandler({ intermediates: "$", final: "q" }, swallow);
    for (const colour of [4, 10, 11, 12]) parser.registerOscHandler(colour, (data) => data.includes("?") && swallow());
  }

  /** Draw with WebGL where there is one, and go back to HTML when the browser takes it away. */
  async #useGraphics() {
    const { dataset } = page.querySelector("#terminal");
    const drawHtml = () => {
      dataset.renderer = "html";
      return this.term.registerCharacterJoiner(cellsOf);
    };
    const joiner = drawHtml();
    try {
      const { WebglAddon } = await import(page.dataset.webgl);
      const webgl = new WebglAddon();
      webgl.onContextLoss(() => {
        webgl.dispose();
        drawHtml();
        this.term.refresh(0, this.term.rows - 1);
      });
      this.term.loadAddon(webgl);
      // WebGL draws each cell separately. It draws a joined cell that holds one character as U+1FFFFF.
      this.term.deregisterCharacterJoiner(joiner);
      dataset.renderer = "webgl";
    } catch {
      // The HTML renderer draws the same, only slower.
    }
  }
}

function optionsOf({ colours, family, size, reader }) {
  return { ...coloursOf(colours), fontFamily: family, fontSize: size, screenReaderMode: reader };
}

function isShown(element) {
  return element.clientWidth > 0 && element.clientHeight > 0;
}

/** Whether it is what one key or one choice among characters gives; a dead key or Chinese punctuation gives two. */
function isCharacter(text) {
  const { length } = Intl.Segmenter ? [...new Intl.Segmenter().segment(text)] : [...text];
  return length < 2 || (length === 2 && text > "\x7f");
}

function openLink(text) {
  if (/^https?:\/\//i.test(text)) window.open(text, "_blank", "noopener,noreferrer");
}
