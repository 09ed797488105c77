// What the pages do beyond htmx: dialogs, and the live list (live.js). Uploads are in uploads.js.
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

// No answer came. What was sent may have arrived all the same.
document.addEventListener("htmx:error", ({ detail: { ctx } }) => {
  if (!ctx) return notice("Something went wrong in this page. Load it again.", "error");
  const sent = ctx.request.method !== "GET";
  const next = sent ? "This may or may not have been done: look before you try again." : "Try again in a moment.";
  notice(`The Hub did not answer. ${next}`, "error");
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
    if (news.login && document.querySelector("#uploads progress")) {
      notice("Your login has ended. Log in again in another tab, so that the uploads here can continue.", "error");
    } else if (news.login) location.reload();
    if (news.trouble !== undefined) {
      offline.textContent = news.trouble;
      offline.hidden = !news.trouble;
    }
  };
  import(script).then(({ follow }) => follow({ script, live, page }, tell));
}

// A file's link says for whom the page was made, as all else does that it asks for.
document.addEventListener("click", ({ target }) => {
  const link = target.closest?.("a[download]");
  if (link) link.search = new URLSearchParams({ login: document.body.dataset.login });
}, { capture: true });
