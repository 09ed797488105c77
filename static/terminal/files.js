/** Files from this computer into the person's home, and from there into VisiData, without a command being typed. */

import { ask } from "./ask.js";
import { count, page, them, toast } from "./words.js";

/** Store it under the name, or under that with a number; gives its path in the home. Raises with words for a person. */
export async function upload(name, body) {
  return (await store(name, body)).path;
}

/**
 * As `upload`, for one file of a set: `names` are those of the whole set, `number` is what the first of it was given.
 * Gives { name, path, openable, number, note }.
 */
async function store(name, body, names = [], number = null) {
  const size = body.size ?? new Blob([body]).size;
  if (size > Number(page.dataset.limit)) throw new Error(`It is larger than ${page.dataset.limitText}, the most that the Hub takes.`);
  const asked = new URLSearchParams(names.map((one) => ["set", one]));
  if (number) asked.set("number", number);
  const answer = await ask(`/files/upload/${encodeURIComponent(name)}${names.length ? `?${asked}` : ""}`, { method: "PUT", body });
  return answer.json();
}

/** The files in sets that belong together (a database and its log): lists of files, each in the order to upload it. */
async function inSets(files) {
  if (files.length < 2) return [files];
  const body = JSON.stringify({ names: files.map((file) => file.name) });
  const { sets } = await (await ask("/files/sets", { body })).json();
  return sets.map((set) => set.map((index) => files[index]));
}

/** Leave something for VisiData to fetch at a key: the `clipboard`, or the path of a file to `open`. */
export async function leave(what, text) {
  await ask(`/files/left/${what}`, { method: "PUT", body: text });
}

/** Upload files and have them opened: `open(paths)` gives a sentence that says what VisiData does now. */
export async function uploadAndOpen(files, open) {
  let stored = 0;
  let left = [...files];
  const paths = [];
  try {
    for (const set of await inSets(left)) {
      const done = await uploadSet(set);
      left = left.filter((file) => !set.includes(file));
      stored += done.length;
      if (done.length < set.length) continue; // Without its log, a database would open with rows missing.
      // Of a set, VisiData opens what it has a loader for, and reads the rest along with that.
      const data = done.filter((one) => one.openable);
      paths.push(...(done.length > 1 && data.length ? data : done.slice(0, 1)).map((one) => one.path));
    }
  } catch (error) {
    const words = `${count(left.length, "file")} not uploaded. `;
    // After another login of the same person's the Hub takes them; under another person's, none that is left here.
    if (error.status === 401) toast(`${words}Your login has ended: log in in another tab.`, { ...again(left, open), tone: "warn", seconds: 0 });
    else toast(words + error.message, { tone: "warn", seconds: error.status === 412 ? 0 : 12 });
  }
  if (!paths.length) return;
  const kept = stored > 1 ? `${count(stored, "file")} are among yours` : `“${paths[0]}” is among your files`;
  const failed = (error) => `VisiData did not open ${them(paths)}: ${error.message}`;
  toast(`${kept}. ${await open(paths).catch(failed)}`);
}

function again(files, open) {
  return { action: "Try again", run: () => uploadAndOpen(files, open) };
}

/**
 * Upload a set, one file after the other; gives what was stored. It ends at the first file that fails. Raises where no other
 * will be taken either: the login has ended, or is another person's.
 */
async function uploadSet(set) {
  const done = [];
  const names = set.length > 1 ? set.map((file) => file.name) : [];
  for (const file of set) {
    const close = toast(`Uploading ${file.name}…`, { seconds: 0 });
    try {
      await file.slice(0, 1).arrayBuffer().catch(() => {
        throw new Error("The browser cannot read it: it was moved or changed since, or it is a folder.");
      });
      done.push(await store(file.name, file, names, done[0]?.number));
      if (done.at(-1).note) toast(done.at(-1).note, { tone: "warn", seconds: 20 });
    } catch (error) {
      if (error.status === 401 || error.status === 412) throw error;
      const rest = set.length - done.length - 1;
      const more = rest ? ` Nor ${rest > 1 ? `were ${count(rest, "file")} that belong` : "was the file that belongs"} to it.` : "";
      toast(`“${file.name}” was not uploaded.${more} ${error.message}`, { tone: "warn", seconds: 12 });
      return done;
    } finally {
      close();
    }
  }
  return done;
}

/** Ask for files and do the same with them. */
export function pick(open) {
  const input = Object.assign(document.createElement("input"), { type: "file", multiple: true });
  input.addEventListener("change", () => uploadAndOpen([...input.files], open));
  input.click();
}

/** Take files that are dropped anywhere on the page. `may()` says whether it is the time for it. */
export function takeDrops(may, open) {
  let under = 0;
  const carries = (event) => event.dataTransfer?.types.includes("Files") && may();
  const mark = (step) => document.body.classList.toggle("dropping", (under = Math.max(0, under + step)) > 0);
  addEventListener("dragenter", (event) => carries(event) && mark(1));
  addEventListener("dragleave", (event) => carries(event) && mark(-1));
  addEventListener("dragover", (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault(); // The browser would leave the page and show the file itself.
    mark(-under);
    const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
    // A folder is among the files, too, as one that no browser can read.
    const [folders, files] = [true, false].map((is) =>
      items.filter((item) => Boolean(item.webkitGetAsEntry?.()?.isDirectory) === is).map((item) => item.getAsFile()).filter(Boolean),
    );
    for (const { name } of folders) toast(`“${name}” is a folder. Drop the files in it, or a zip of it.`, { tone: "warn" });
    if (!files.length) return;
    if (may()) uploadAndOpen(files, open);
    else toast(`${count(files.length, "file")} not taken: there is no VisiData here to open ${them(files)} in.`, { tone: "warn" });
  });
}
