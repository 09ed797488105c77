/**
 * What a screen reader hears of a full-screen program: the row under the cursor, once, when it changes.
 *
 * xterm.js announces whatever is drawn, and VisiData draws its whole screen with most keys. Outside of full-screen programs,
 * as in a shell, xterm.js's own announcements are right and stay.
 */

const REST = 300; // Milliseconds without output after which the screen is looked at.
const PART = 0.4; // Of the columns: a row with at least that part in reverse is the cursor's.

export class Reader {
  #term;
  #region = document.createElement("div");
  #timer;
  #said = "";
  #listening = [];

  constructor(term) {
    this.#term = term;
    Object.assign(this.#region, { className: "visually-hidden", id: "spoken" });
    this.#region.setAttribute("aria-live", "polite");
    document.body.append(this.#region);
  }

  on() {
    if (this.#listening.length) return;
    this.#listening = [this.#term.onWriteParsed(() => this.#soon()), this.#term.buffer.onBufferChange(() => this.#soon())];
    this.#soon();
  }

  off() {
    for (const one of this.#listening) one.dispose();
    this.#listening = [];
    clearTimeout(this.#timer);
  }

  #soon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#look(), REST);
  }

  #look() {
    const { active } = this.#term.buffer;
    const full = active.type === "alternate";
    this.#term.element.querySelector(".live-region")?.setAttribute("aria-live", full ? "off" : "assertive");
    const row = full ? this.#cursorRow(active) : "";
    if (row && row !== this.#said) this.#region.textContent = row;
    if (row) this.#said = row;
  }

  /** The text of the row under VisiData's cursor, which it draws in reverse; "" where there is none. */
  #cursorRow(buffer) {
    const { cols, rows } = this.#term;
    let found = "";
    let most = cols * PART;
    for (let y = 1; y < rows - 1; y++) {
      const line = buffer.getLine(buffer.viewportY + y);
      let reversed = 0;
      for (let x = 0; x < cols; x++) reversed += line?.getCell(x)?.isInverse() ? 1 : 0;
      if (reversed > most) [most, found] = [reversed, line.translateToString(true)];
    }
    return found.replace(/[│║┃|]+/g, ",").replace(/\s+/g, " ").replace(/(\s?,\s?)+/g, ", ").trim();
  }
}
