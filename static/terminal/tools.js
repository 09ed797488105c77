/**
 * All that the page can do beyond showing the screen: pasting, files, the palette, the menus, the key bar, full screen.
 * Loaded when the screen is on its way, so that it does not keep anybody waiting. Decides nothing about the connection.
 */

import { copy, read } from "./clipboard.js";
import { leave, pick, uploadAndOpen } from "./files.js";
import { keyBar } from "./keybar.js";
import { COMMANDS, OPEN_LEFT, STOLEN, readable, typed } from "./keys.js";
import { contextMenu, palette } from "./palette.js";
import { pasting } from "./paste.js";
import { choose, openSettings, preferences, themes } from "./settings.js";
import { setUpFullScreen, toggleFullScreen } from "./window.js";
import { backToTerminal, byId, openDialog, page, them, toast } from "./words.js";

/**
 * Set it all up, once. `may(what)` says whether keys go anywhere, and if not, says so to the person; `reason()` says why
 * not. Gives { act, open(paths), paste(text), take(files), openMenu(x, y), unstick() }, where `act` has what buttons and
 * keys do, by the names in their `data-do`.
 */
export function setUp({ screen, may, reason }) {
  const home = page.dataset.home === "yes"; // Whether the Hub reaches the person's files.
  const type = (text) => screen.type(text);

  /** Have VisiData open files of the person's home. */
  async function open(paths) {
    await leave("open", JSON.stringify(paths));
    if (screen.prompting) return `VisiData asks for something just now, so ${paths.length > 1 ? "they were" : "it was"} not opened.`;
    type(OPEN_LEFT);
    return `VisiData opens ${them(paths)}.`;
  }

  const act = {
    palette: () => openPalette(),
    paste: async () => {
      if (!may("the paste")) return;
      const text = await read();
      if (text) paste(text);
      else if (text === "") toast("There is no text on the clipboard.");
    },
    open: () => may("the file") && pick(open),
    fullscreen: toggleFullScreen,
    settings: openSettings,
    /** Give the keyboard to what a note offers, where there is one, and else to the bar. */
    bar() {
      const choices = [offered(), byId("stay"), byId("now"), document.querySelector(".bar [data-do=palette]")];
      choices.find((one) => one?.checkVisibility())?.focus();
    },
    help: () => document.querySelector("dialog[open]") ?? openDialog(byId("help")),
    stop() {
      byId("stop-dialog").returnValue = "keep";
      openDialog(byId("stop-dialog"));
    },
  };

  /** What the newest note offers, as a button; or nothing. */
  const offered = () => [...document.querySelectorAll("#toasts button:not(.close)")].at(-1);

  const nothingSelected = () => (screen.term.hasSelection() ? "" : "Nothing is selected: drag with Shift held");
  const noFiles = home ? "" : "This Hub does not reach your files";

  function commands() {
    const off = reason();
    const asked = off || (screen.prompting ? "VisiData asks for something: answer it, or press Esc first" : "");
    const { theme, size } = preferences();
    const kept = (keys, name, run, more) => ({ group: "Keys that the browser keeps", keys, name, run, off, ...more });
    const mine = (name, run, more) => ({ group: "This page", name, run, ...more });
    return [
      ...STOLEN.map(([keys, name]) => kept(keys, name, () => type(typed(keys)), { danger: keys === "Ctrl+Q" })),
      kept("Esc", "Escape, which leaves full screen in some browsers", () => screen.press("Esc")),
      ...COMMANDS.map(([keys, also, name]) => ({
        group: "VisiData", keys: readable(keys), also, name, run: () => type(typed(keys)), off: asked,
      })),
      ...[offered()].filter(Boolean).map((button) =>
        mine(`${button.textContent}: ${button.parentElement.firstChild.textContent}`, () => button.isConnected && button.click()),
      ),
      ...["stay", "now"].filter((id) => byId(id).checkVisibility()).map((id) =>
        mine(id === "stay" ? "Stay: do not stop this session yet" : "Reconnect now", () => byId(id).click()),
      ),
      mine("Copy the selection", () => screen.copySelection(), { keys: "Ctrl+C", off: nothingSelected() }),
      mine("Copy the screen as text", () => copy(screen.lines().map((line) => line.trimEnd()).join("\n").trim())),
      mine("Paste…", act.paste, { keys: "Ctrl+V", off }),
      mine("Open a file from this computer…", act.open, { also: "upload", off: off || noFiles }),
      mine("Full screen", act.fullscreen, { also: "F11", off: document.fullscreenEnabled ? "" : "Not in this browser" }),
      ...themes().map(([value, name]) =>
        mine(`Theme: ${name}`, () => choose({ theme: value }), { also: "colours colors", off: theme === value ? "It is" : "" }),
      ),
      mine("Larger font", () => choose({ size: size + 1 }), { also: "zoom bigger" }),
      mine("Smaller font", () => choose({ size: size - 1 }), { also: "zoom" }),
      mine("Theme, font and more…", act.settings, { also: "settings preferences screen reader" }),
      mine("Keys and help", act.help, { keys: "Shift+F1" }),
      mine("Leave the terminal for the bar above it", act.bar, { keys: "Shift+F6", also: "focus keyboard accessibility" }),
      page.dataset.watch === "yes"
        ? mine("Work in this session", () => location.assign(location.pathname), { also: "drive type stop watching" })
        : mine("Watch in another tab", () => window.open("?watch=1", "_blank", "noopener"), { also: "second screen projector share" }),
      mine("Back to your sessions", () => document.querySelector(".back").click()),
      ...(byId("stop").hidden ? [] : [mine("Stop the session…", act.stop, { danger: true })]),
    ];
  }

  const openPalette = palette(commands);
  const openMenu = contextMenu((x, y) => [
    { name: "Copy", keys: "Ctrl+C", off: nothingSelected(), run: () => screen.copySelection() },
    { name: "Paste…", keys: "Ctrl+V", off: reason(), run: act.paste },
    { name: "Right-click in VisiData", off: screen.mouse ? reason() : "No mouse", run: () => screen.clickRight(x, y) },
    { name: "Commands and keys…", keys: "Ctrl+,", run: act.palette },
    { name: "Theme, font and more…", run: act.settings },
    { name: "Keys and help", keys: "Shift+F1", run: act.help },
  ]);
  const paste = pasting(screen, { may, open });
  const { unstick } = keyBar(screen, { may, commands: act.palette, paste });
  setUpFullScreen();
  byId("help").addEventListener("close", backToTerminal);

  return { act, open, paste, take: (files) => may("the file") && uploadAndOpen(files, open), openMenu, unstick };
}
