/**
 * The palette (all commands, found by typing) and the right-click menu, which is a short one of the same.
 *
 * An entry is { name, keys, group, run, off }: `keys` are shown beside it, `off` says why it cannot be chosen just now.
 */

import { shortcut } from "./keys.js";
import { backToTerminal, byId, openDialog } from "./words.js";

/** The palette; `entries()` gives what it offers now. Returns what opens it. */
export function palette(entries) {
  const dialog = byId("palette");
  const [input, list] = [byId("palette-find"), byId("palette-list")];
  let shown = [];
  let at = 0;

  function fill() {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rank = ({ name, keys = "", also = "" }) => {
      if (words.length === 1 && keys.toLowerCase() === words[0]) return 0;
      const text = `${name} ${keys} ${also}`.toLowerCase();
      return words.every((word) => text.includes(word)) ? 1 : 2;
    };
    shown = entries().map((entry) => [rank(entry), entry]).filter(([found]) => found < 2);
    if (words.length) shown.sort(([one], [other]) => one - other);
    shown = shown.map(([, entry]) => entry);
    const parts = [];
    let group;
    shown.forEach((entry, index) => {
      if (entry.group !== group) parts.push(Object.assign(document.createElement("li"), { className: "group", role: "presentation", textContent: (group = entry.group) }));
      parts.push(option(entry, index));
    });
    list.replaceChildren(...parts);
    byId("palette-none").hidden = shown.length > 0;
    move(Math.max(0, shown.findIndex((entry) => !entry.off)));
  }

  function option(entry, index) {
    const item = Object.assign(document.createElement("li"), { id: `entry-${index}`, role: "option" });
    item.append(Object.assign(document.createElement("span"), { textContent: entry.name }));
    if (entry.off) item.append(Object.assign(document.createElement("small"), { textContent: entry.off }));
    if (entry.keys) item.append(Object.assign(document.createElement("kbd"), { textContent: entry.keys }));
    item.setAttribute("aria-disabled", String(Boolean(entry.off)));
    item.classList.toggle("danger", Boolean(entry.danger));
    item.addEventListener("click", () => choose(index));
    return item;
  }

  function move(to) {
    at = Math.min(Math.max(to, 0), shown.length - 1);
    for (const item of list.querySelectorAll("[role=option]")) item.setAttribute("aria-selected", String(item.id === `entry-${at}`));
    const item = byId(`entry-${at}`);
    if (item) input.setAttribute("aria-activedescendant", item.id);
    else input.removeAttribute("aria-activedescendant");
    item?.scrollIntoView({ block: at === 0 ? "end" : "nearest" });
    if (at === 0) list.scrollTop = 0;
  }

  function choose(index) {
    const entry = shown[index];
    if (!entry || entry.off) return;
    dialog.close();
    backToTerminal();
    entry.run();
  }

  input.addEventListener("input", fill);
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 }[event.key];
    if (step) move(at + step);
    else if (event.key === "Enter" && !event.isComposing) choose(at);
    else if (shortcut(event) === "palette") dialog.close();
    else return;
    event.preventDefault();
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", backToTerminal);
  return () => {
    if (document.querySelector("dialog[open]")) return;
    input.value = "";
    openDialog(dialog);
    fill();
  };
}

/** The right-click menu; `entries(x, y)` gives what it offers at a point. Returns what opens it there. */
export function contextMenu(entries) {
  const menu = byId("context");
  const items = () => [...menu.querySelectorAll("button:not([aria-disabled=true])")];

  menu.addEventListener("keydown", (event) => {
    const all = items();
    const here = all.indexOf(document.activeElement);
    const to = { ArrowDown: here + 1, ArrowUp: here - 1 + all.length, Home: 0, End: all.length - 1 }[event.key];
    if (event.key === "Tab" || event.key === "Escape") menu.hidePopover();
    else if (to === undefined) return;
    else all[to % all.length].focus();
    event.preventDefault();
  });
  // It is a manual popover: some browsers close the others again at the release of the button that opened them. What
  // those have by themselves is done here: they go at a press elsewhere, at Escape, and at a phone's way back.
  let watcher;
  const elsewhere = (event) => menu.contains(event.target) || menu.hidePopover();
  document.addEventListener("pointerdown", elsewhere, { capture: true });
  document.addEventListener("focusin", elsewhere);
  for (const kind of ["mousedown", "contextmenu"]) menu.addEventListener(kind, (event) => event.preventDefault());
  menu.addEventListener("toggle", (event) => {
    if (event.newState === "open") return;
    watcher?.destroy();
    const focus = document.activeElement;
    if (focus === document.body || menu.contains(focus)) backToTerminal();
  });

  return (x, y) => {
    menu.replaceChildren(
      ...entries(x, y).map(({ name, keys, off, run }) => {
        const item = Object.assign(document.createElement("button"), { type: "button", role: "menuitem" });
        item.append(name);
        if (keys) item.append(Object.assign(document.createElement("kbd"), { textContent: keys }));
        item.setAttribute("aria-disabled", String(Boolean(off)));
        item.addEventListener("click", () => {
          if (off) return;
          menu.hidePopover();
          backToTerminal();
          run();
        });
        return item;
      }),
    );
    menu.showPopover();
    watcher?.destroy(); // Closing and opening at once is one toggle, or none.
    watcher = window.CloseWatcher && new CloseWatcher();
    watcher?.addEventListener("close", () => menu.hidePopover());
    // Beside the pointer, and whole.
    menu.style.left = `${Math.max(4, Math.min(x, innerWidth - menu.offsetWidth - 4))}px`;
    menu.style.top = `${Math.max(4, Math.min(y, innerHeight - menu.offsetHeight - 4))}px`;
    items()[0]?.focus();
  };
}
