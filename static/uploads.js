// Uploads with progress: one after the other, each with its own line. They are stored for the person whose page this is, and
// for nobody else: when the login has ended the queue waits, and under another person's login it stops.

const place = document.querySelector("[data-upload]");
const lines = document.getElementById("uploads");
const MAX_WAIT = 60; // Seconds. A longer wait is for the person to decide about.
const MAX_RETRIES = 3; // When the Hub says that there were too many requests.
const OURS = { "Hub-Login": document.body.dataset.login };

if (place && lines) setUp();

function setUp() {
  const limit = Number(place.dataset.limit);
  const folder = place.dataset.folder ? `${place.dataset.folder}/` : "";
  const picker = place.querySelector("[data-pick]");
  // What is still to be sent, in order: { file, line, set }. Those that belong together (a database and its log) have one
  // `set`: { names, number }, where the number is that of the first to be stored, which the others follow.
  const waiting = [];
  let under = 0;
  let sending = false;
  let stopped = ""; // Why nothing is sent any more; empty while files may be.
  let pause = null; // While the queue waits for a login: { notice, files, resume }.

  place.querySelector("[data-no-script]")?.remove();
  picker.required = false;
  picker.multiple = true;
  picker.addEventListener("change", () => {
    take([...picker.files].map((file) => ({ file })));
    picker.value = "";
  });
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => {
    if (carriesFiles(event)) document.body.classList.toggle("dropping", ++under > 0);
  });
  addEventListener("dragleave", (event) => {
    if (carriesFiles(event)) document.body.classList.toggle("dropping", --under > 0);
  });
  addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    under = 0;
    document.body.classList.remove("dropping");
    // A folder is among the files, too, as one that no browser can read.
    const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
    take(items.map((item) => ({ file: item.getAsFile(), isFolder: item.webkitGetAsEntry?.()?.isDirectory })));
  });
  addEventListener("beforeunload", (event) => (sending || (waiting.length && !stopped)) && event.preventDefault());

  async function take(dropped) {
    const taken = [];
    for (const { file, isFolder } of dropped) {
      if (!file) continue;
      const line = addLine(file.name);
      if (isFolder) fail(line, "This is a folder. Choose the files in it, or a zip of it.");
      else if (file.size > limit) fail(line, `It is larger than ${place.dataset.limitText}, which is the most that the Hub takes.`);
      else if (stopped) fail(line, stopped);
      else taken.push({ file, line, set: { names: [], number: null } });
    }
    if (taken.length > 1) await findSets(taken);
    else waiting.push(...taken);
    sendNext();
  }

  /** Ask the Hub which files belong together, and line them up. */
  async function findSets(taken) {
    const body = JSON.stringify({ names: taken.map(({ file }) => file.name) });
    const headers = { accept: "application/json", ...OURS };
    const answer = await fetch("/files/sets", { method: "POST", body, headers }).catch(() => null);
    if (answer?.status === 401) return hold(taken.length, () => findSets(taken));
    if (!answer?.ok) {
      const why = await answer?.json().catch(() => ({}));
      const words = answer ? (why.detail ?? `The Hub answered ${answer.status}.`) : "The Hub cannot be reached just now.";
      if (answer?.status === 412) return stop(taken, words);
      const once = () => again(taken);
      for (const { line } of taken) fail(line, `${words} Nothing was stored.`, once);
      return;
    }
    for (const members of (await answer.json()).sets) {
      const set = { names: members.length > 1 ? members.map((index) => taken[index].file.name) : [], number: null };
      for (const index of members) waiting.push(Object.assign(taken[index], { set }));
    }
  }

  /** Take these files once more, with new lines. */
  function again(files) {
    for (const { line } of files) line.remove();
    take(files.map(({ file }) => ({ file })));
  }

  async function sendNext() {
    if (sending || pause || !waiting.length) return;
    sending = true;
    const next = waiting.shift();
    let answer = await send(next);
    for (let tries = 0; answer.wait > 0 && answer.wait <= MAX_WAIT && tries < MAX_RETRIES; tries++) {
      next.line.children[1].textContent = `Too many uploads at once. Trying again in ${answer.wait} s`;
      next.line.querySelector("progress").value = 0;
      await new Promise((later) => setTimeout(later, answer.wait * 1000));
      answer = await send(next);
    }
    sending = false;
    if (answer.status === 201) {
      next.set.number = answer.body.number;
      finish(next.line, answer.body);
    } else if (answer.status === 401) {
      waiting.unshift(next);
      next.line.children[1].textContent = "Waiting";
      next.line.querySelector("progress").value = 0;
      hold(waiting.length);
    } else if (answer.status === 412) stop([next], answer.body.detail);
    else drop(next, answer.text ?? (await whyBroken(next.file, answer.fate)), answer.status !== 413);
    sendNext();
  }

  /** It was not stored: the rest of its set is not sent either. "Try again" sends them under the number that they have. */
  function drop(next, words, repeatable) {
    const rest = waiting.filter(({ set }) => set === next.set);
    const all = [next, ...rest];
    fail(next.line, words, repeatable && (() => {
      for (const one of all) {
        one.line.remove();
        one.line = addLine(one.file.name);
      }
      waiting.push(...all);
      sendNext();
    }));
    for (const one of rest) {
      waiting.splice(waiting.indexOf(one), 1);
      fail(one.line, `It belongs to “${next.file.name}”, which was not uploaded.`);
    }
  }

  /** The login has ended: `count` files more wait until the person has logged in again in another tab, and then `resume`. */
  function hold(count, resume = () => {}) {
    if (!pause) {
      const notice = Object.assign(document.createElement("p"), { className: "notice error" });
      const there = Object.assign(document.createElement("a"), { href: "/login", target: "_blank", textContent: "Log in" });
      const go = Object.assign(document.createElement("button"), { className: "small", type: "button", textContent: "Continue" });
      notice.setAttribute("role", "alert");
      notice.append("", there, " in another tab, then ", go);
      go.addEventListener("click", async () => {
        const { resume } = pause;
        notice.remove();
        pause = null;
        for (const one of resume) await one();
        sendNext();
      });
      lines.prepend(notice);
      pause = { notice, files: 0, resume: [] };
    }
    pause.files += count;
    pause.resume.push(resume);
    const files = pause.files === 1 ? "1 file waits" : `${pause.files} files wait`;
    pause.notice.firstChild.data = `Your login has ended, so ${files}. `;
    pause.notice.scrollIntoView({ block: "nearest" });
  }

  /** Another person is logged in: these files, and all that wait, are not theirs. */
  function stop(uploads, words) {
    stopped = words;
    for (const { line } of [...uploads, ...waiting.splice(0)]) fail(line, words);
  }

  function addLine(name) {
    const line = document.createElement("div");
    line.className = "uploading";
    line.append(Object.assign(document.createElement("b"), { textContent: name }), document.createElement("span"));
    line.append(Object.assign(document.createElement("progress"), { max: 1, value: 0, ariaLabel: `Uploading ${name}` }));
    line.children[1].textContent = "Waiting";
    lines.append(line);
    return line;
  }

  function fail(line, words, again) {
    line.classList.add("failed");
    line.children[1].textContent = "Not uploaded";
    line.querySelector("progress").remove();
    line.append(Object.assign(document.createElement("span"), { className: "why", textContent: words }));
    if (again) {
      const button = Object.assign(document.createElement("button"), { className: "small", type: "button", textContent: "Try again" });
      button.addEventListener("click", () => {
        line.remove();
        again();
      });
      line.append(button);
    }
  }

  /** Gives { status, body, text, fate, wait }: status 0 and no text where no answer came; `wait` is in seconds. */
  function send({ file, line, set }) {
    return new Promise((done) => {
      const request = new XMLHttpRequest();
      const bar = line.querySelector("progress");
      const asked = new URLSearchParams(set.names.map((name) => ["set", name]));
      if (set.number) asked.set("number", set.number);
      const path = (folder + file.name).split("/").map(encodeURIComponent).join("/");
      const address = `/files/upload/${path}${set.names.length ? `?${asked}` : ""}`;
      const cancel = Object.assign(document.createElement("button"), { className: "small", type: "button", textContent: "Cancel" });
      let cancelled = false;
      request.open("PUT", address);
      request.setRequestHeader("Accept", "application/json");
      for (const [name, value] of Object.entries(OURS)) request.setRequestHeader(name, value);
      request.upload.addEventListener("progress", (event) => {
        bar.value = event.loaded / event.total;
        line.children[1].firstChild.data = event.loaded === event.total ? "Storing " : `${Math.floor(bar.value * 100)} % `;
      });
      request.addEventListener("loadend", () => {
        cancel.remove();
        // Once the Hub has the whole file, only its answer says whether it was stored.
        const unsure = bar.value === 1 && (request.status === 0 || request.status >= 500);
        const fate = unsure ? "It may have been stored: look before you send it again." : "Nothing was stored.";
        const answer = { status: request.status, body: {}, fate, text: cancelled ? `Cancelled. ${fate}` : undefined };
        if (request.status === 429) answer.wait = Number(request.getResponseHeader("Retry-After") ?? 0);
        try {
          answer.body = JSON.parse(request.responseText);
          answer.text = answer.body.detail;
        } catch {
          if (request.status) answer.text = `The Hub, or a proxy in between, answered ${request.status}. ${fate}`;
        }
        done(answer);
      });
      cancel.addEventListener("click", () => {
        cancelled = true;
        request.abort();
      });
      line.children[1].replaceChildren(document.createTextNode("0 % "), cancel);
      request.send(file);
    });
  }

  /** Why there was no answer, which browsers do not say, and the file's `fate`. */
  async function whyBroken(file, fate) {
    try {
      await file.slice(0, 1).arrayBuffer();
    } catch {
      return "The browser cannot read this file: it was moved or changed since, or it is a folder. Nothing was stored.";
    }
    if (!navigator.onLine) return `This computer is offline. ${fate}`;
    try {
      await fetch("/healthz", { cache: "no-store" });
      return `The upload was cut off, though the Hub answers: a proxy in between may limit sizes or times. ${fate}`;
    } catch {
      return `The Hub cannot be reached just now. ${fate}`;
    }
  }

  function finish(line, stored) {
    line.querySelector("progress").remove();
    line.children[0].textContent = stored.name;
    line.children[1].replaceChildren("Uploaded ");
    const hidden = stored.name.startsWith(".") && !location.search.includes("hidden=1") && document.getElementById("files");
    for (const note of [stored.note, hidden && "It is hidden: “Show hidden files” lists it."].filter(Boolean)) {
      line.append(Object.assign(document.createElement("span"), { className: "why", textContent: note }));
    }
    if (stored.openable) {
      const form = Object.assign(document.createElement("form"), { method: "post", action: "/sessions" });
      const fields = { login: document.body.dataset.login, source: source(stored.path), open: "1" };
      for (const [name, value] of Object.entries(fields)) {
        form.append(Object.assign(document.createElement("input"), { type: "hidden", name, value }));
      }
      form.append(Object.assign(document.createElement("button"), { className: "small primary", textContent: "Open in VisiData" }));
      line.children[1].replaceChildren(form);
    }
    if (document.getElementById("files")) htmx.ajax("GET", location.pathname + location.search, { target: "#files", swap: "innerHTML" });
    else if (stored.openable) document.querySelector("form.create select")?.prepend(new Option(stored.name, source(stored.path)));
  }

  /** A file as the value of a form. Browsers change line ends in such values, so it is percent-encoded. */
  function source(path) {
    return `path:${encodeURIComponent(path)}`;
  }
}
