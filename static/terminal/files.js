/** Files from this computer into the person's home, and from there into VisiData, without a command being typed. */

import { ask } from "./ask.js";
import { count, them, toast } from "./words.js";

/** Store it under the name, or under that with a number; gives its path in the home. Raises with words for a person. */
export async function upload(name, body) {
  const answer = await ask(`/files/upload/${encodeURIComponent(name)}`, { method: "PUT", body });
  return (await answer.json()).path;
}

/** Leave something for VisiData to fetch at a key: the `clipboard`, or the path of a file to `open`. */
export async function leave(what, text) {
  await ask(`/files/left/${what}`, { method: "PUT", body: text });
}

/** Upload files and have them opened: `open(paths)` gives a sentence that says what VisiData does now. */
export async function uploadAndOpen(files, open) {
  const paths = [];
  for (const file of files) {
    const close = toast(`Uploading ${file.name}…`, { seconds: 0 });
    try {
      await file.slice(0, 1).arrayBuffer().catch(() => {
        throw new Error("The browser cannot read it: it was moved or changed since, or it is a folder.");
      });
      paths.push(await upload(file.name, file));
    } catch (error) {
      toast(`“${file.name}” was not uploaded. ${error.message}`, { tone: "warn", seconds: 12 });
    }
    close();
  }
  if (!paths.length) return;
  const stored = paths.length > 1 ? `${count(paths.length, "file")} are among yours` : `“${paths[0]}” is among your files`;
  const failed = (error) => `VisiData did not open ${them(paths)}: ${error.message}`;
  toast(`${stored}. ${await open(paths).catch(failed)}`);
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
