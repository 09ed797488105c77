// What the pages do beyond htmx: dialogs, uploads with progress, and the live list (live.js).
// Every page works without this file; nothing here knows a session's state.

const dialog = document.getElementById("dialog");

// The list swaps too, and may do so just when a question was answered and is about to be gone.
dialog.addEventListener("htmx:after:settle", () => {
  if (!dialog.open) dialog.showModal();
  (dialog.querySelector("[autofocus]") ?? dialog.querySelector("button"))?.focus();
});

dialog.addEventListener("click", (event) => {
  if (event.target === dialog || event.target.closest("[data-close]")) {
    event.preventDefault();
    dialog.close();
  }
});
// The event comes somewhat after the closing, and the next question may be there already.
dialog.addEventListener("close", () => dialog.open || dialog.replaceChildren());

document.addEventListener("htmx:finally:request", (event) => {
  const context = event.detail.ctx;
  // The question was answered: it goes, unless it was asked again because the answer would not do.
  if (context?.sourceElement?.closest?.("dialog") && context.request.method === "POST" && context.response?.status !== 422) {
    dialog.close();
  }
});

const create = document.querySelector("form.create");
create?.addEventListener("htmx:after:swap", (event) => {
  if (event.detail.ctx?.response?.status === 200) create.reset();
});

// The Hub limits how many requests come at once, and says when to come again: wait for that, and send it once more.

const MAX_WAIT = 60; // Seconds. A longer wait is for the person to decide about.
const MAX_RETRIES = 3;

/** Seconds to wait before the same request may work; 0 where waiting does not help. */
function retryAfter(status, header) {
  const seconds = status === 429 ? Number(header ?? 0) : 0;
  return seconds > 0 && seconds <= MAX_WAIT ? seconds : 0;
}

document.addEventListener("htmx:config:request", ({ detail: { ctx } }) => {
  ctx.fetch = async (address, options) => {
    for (let tries = 0; ; tries++) {
      const answer = await fetch(address, options);
      const wait = retryAfter(answer.status, answer.headers.get("Retry-After"));
      if (!wait || tries === MAX_RETRIES) {
        if (tries) document.getElementById("notices").replaceChildren();
        return answer;
      }
      notice(`Too many requests. Trying again in ${seconds(wait)}.`, "warning");
      clearTimeout(ctx.requestTimeout); // Waiting is no silence of the Hub's.
      await new Promise((later) => setTimeout(later, wait * 1000));
      ctx.requestTimeout = setTimeout(() => ctx.request.abort("timeout"), htmx.config.defaultTimeout);
    }
  };
});

function seconds(count) {
  return `${count} ${count === 1 ? "second" : "seconds"}`;
}

document.addEventListener("htmx:error", (event) => {
  notice("The Hub could not be reached, so nothing was changed. Try again in a moment.", "error");
});

function notice(text, kind) {
  const paragraph = Object.assign(document.createElement("p"), { className: `notice ${kind}`, textContent: text });
  document.getElementById("notices").replaceChildren(paragraph);
}

// The live list. All tabs of this browser share one stream, where the browser has shared workers.

const list = document.querySelector("[data-live]");
if (list) {
  const offline = document.getElementById("offline");
  const { live, list: page, script } = list.dataset;
  const tell = (news) => {
    if (news.html !== undefined) htmx.swap({ sourceElement: list, target: list, text: news.html, swap: "innerMorph swapEmpty:false" });
    if (news.login) location.reload();
    if (news.trouble !== undefined) {
      offline.textContent = news.trouble;
      offline.hidden = !news.trouble;
    }
  };
  import(script).then(({ follow }) => follow({ script, live, page }, tell));
}

// Uploads: one after the other, each with its own line. What is dropped on the sessions page can be opened at once.

const place = document.querySelector("[data-upload]");
if (place) {
  const lines = document.getElementById("uploads");
  const limit = Number(place.dataset.limit);
  const folder = place.dataset.folder ? `${place.dataset.folder}/` : "";
  const picker = place.querySelector("[data-pick]");
  let queue = Promise.resolve();
  let under = 0;
  let running = 0;

  place.querySelector("[data-no-script]")?.remove();
  picker.required = false;
  picker.multiple = true;
  picker.addEventListener("change", () => {
    take(picker.files);
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
    take(event.dataTransfer.files);
  });
  addEventListener("beforeunload", (event) => running && event.preventDefault());

  function take(files) {
    for (const file of files) {
      const line = addLine(file.name);
      if (file.size > limit) fail(line, `It is larger than ${place.dataset.limitText}, which is the most that the Hub takes.`);
      else queue = queue.then(() => send(file, line));
    }
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

  function send(file, line, tries = 0) {
    return new Promise((done) => {
      let wait = 0;
      const request = new XMLHttpRequest();
      const bar = line.querySelector("progress");
      const address = `/files/upload/${(folder + file.name).split("/").map(encodeURIComponent).join("/")}`;
      const cancel = Object.assign(document.createElement("button"), { className: "small", type: "button", textContent: "Cancel" });
      let broken = "The connection broke. Nothing was stored.";
      running++;
      request.open("PUT", address);
      request.setRequestHeader("Accept", "application/json");
      request.upload.addEventListener("progress", (event) => {
        bar.value = event.loaded / event.total;
        line.children[1].firstChild.data = event.loaded === event.total ? "Storing " : `${Math.floor(bar.value * 100)} % `;
      });
      request.addEventListener("loadend", () => {
        running--;
        cancel.remove();
        if (request.status === 201) finish(line, JSON.parse(request.responseText));
        else if (request.status === 401) location.reload();
        else if ((wait = retryAfter(request.status, request.getResponseHeader("Retry-After"))) && tries < MAX_RETRIES) {
          line.children[1].textContent = `Too many uploads at once. Trying again in ${seconds(wait)}`;
          bar.value = 0;
          return setTimeout(() => send(file, line, tries + 1).then(done), wait * 1000);
        } else fail(line, reason(request) ?? broken, request.status !== 413 && (() => take([file])));
        done();
      });
      request.addEventListener("abort", () => (broken = "Cancelled. Nothing was stored."));
      cancel.addEventListener("click", () => request.abort());
      line.children[1].replaceChildren(document.createTextNode("0 % "), cancel);
      request.send(file);
    });
  }

  function reason(request) {
    try {
      return JSON.parse(request.responseText).detail;
    } catch {
      return request.status ? `The Hub answered ${request.status}.` : null;
    }
  }

  function finish(line, stored) {
    line.querySelector("progress").remove();
    line.children[0].textContent = stored.name;
    line.children[1].replaceChildren("Uploaded ");
    if (stored.openable) {
      const form = Object.assign(document.createElement("form"), { method: "post", action: "/sessions" });
      for (const [name, value] of [["source", `file:${stored.path}`], ["open", "1"]]) {
        form.append(Object.assign(document.createElement("input"), { type: "hidden", name, value }));
      }
      form.append(Object.assign(document.createElement("button"), { className: "small primary", textContent: "Open in VisiData" }));
      line.children[1].replaceChildren(form);
    }
    if (document.getElementById("files")) htmx.ajax("GET", location.pathname + location.search, { target: "#files", swap: "innerHTML" });
    else document.querySelector("form.create select")?.prepend(new Option(stored.name, `file:${stored.path}`));
  }
}
