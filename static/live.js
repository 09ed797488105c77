/**
 * A live list: its stream, what it does when there is none, and how the tabs of a browser share it.
 *
 * A browser has six connections to a site without TLS, so six tabs with a stream each would block every further page. All
 * tabs of one login therefore share the stream of one shared worker, which is this file too. Where there are no shared
 * workers, each tab has its own while it is visible. Nothing here knows what is in a list.
 *
 * `tell(news)` gets { html } with the list, { login: true } when the login has ended, { trouble } with a sentence while the
 * list is not live (empty once it is).
 */

const FIRST_DELAY = 500; // Milliseconds, doubled with each failure.
const MAX_DELAY = 5_000;
const SILENCE = 50_000; // The Hub says something every 20 s.
const POLL = 15_000; // Where there may be no further stream.
const LINGER = 10_000; // How long a stream stays that no visible tab needs: people switch to and fro.

export function follow(where, tell) {
  const visible = () => document.visibilityState === "visible";
  let wish;
  const alone = () => {
    const list = new List(where, tell);
    wish = (wanted) => list.want(wanted);
    wish(visible());
  };
  try {
    const worker = new SharedWorker(where.script, { type: "module", name: where.live });
    worker.onerror = alone; // Its script did not arrive.
    worker.port.onmessage = ({ data }) => tell(data);
    wish = (wanted) => worker.port.postMessage({ ...where, wanted });
    wish(visible());
  } catch {
    alone();
  }
  document.addEventListener("visibilitychange", () => wish(visible()));
  addEventListener("pagehide", () => wish(false));
  addEventListener("pageshow", ({ persisted }) => persisted && wish(visible()));
}

if (globalThis.SharedWorkerGlobalScope) {
  const watching = new Set(); // Ports of the tabs that are visible. The worker ends with the last tab.
  let list;
  globalThis.onconnect = ({ ports: [port] }) => {
    port.onmessage = ({ data }) => {
      list ??= new List(data, (news) => watching.forEach((one) => one.postMessage(news)));
      if (data.wanted) {
        watching.add(port);
        list.last.forEach((news) => port.postMessage(news));
      } else watching.delete(port);
      list.want(watching.size > 0);
    };
  };
}

/** One list, and the one stream or poll that keeps it current while it is wanted. */
class List {
  last = []; // What a tab that comes later has to know.
  #where;
  #tell;
  #run = null; // Ends what is under way.
  #linger;

  constructor(where, tell) {
    this.#where = where;
    this.#tell = tell;
  }

  want(wanted) {
    clearTimeout(this.#linger);
    if (wanted && !this.#run) {
      this.#run = new AbortController();
      this.#keep(this.#run.signal);
    } else if (!wanted && this.#run) this.#linger = setTimeout(() => this.#end(), LINGER);
  }

  #end() {
    this.#run?.abort();
    this.#run = null;
    this.last = [];
  }

  #say(news) {
    this.last = this.last.filter((one) => Object.keys(one)[0] !== Object.keys(news)[0]).concat(news);
    this.#tell(news);
  }

  async #keep(over) {
    for (let failures = 0; !over.aborted; ) {
      const { began, status, problem, retryAfter } = await this.#stream(over);
      if (over.aborted) return;
      failures = began ? 0 : failures + 1;
      if (status === 401) {
        this.#say({ login: true });
        return this.#end();
      }
      if ([403, 404, 409, 412].includes(status)) return this.#say({ trouble: problem });
      if (status === 429) {
        this.#say({ trouble: problem });
        if (retryAfter < 60) await pause(retryAfter * 1000, over); // Too many requests, and not too many streams.
        else if (!(await this.#poll(over))) continue;
      } else if (!began) this.#say({ trouble: `This list is not live. ${problem || "The Hub cannot be reached."} Trying again…` });
      await pause(Math.min(FIRST_DELAY * 2 ** failures, MAX_DELAY) * (0.7 + Math.random() * 0.6), over);
    }
  }

  /** Follow the stream to its end. Gives whether it began, or the status and words with which it was refused. */
  async #stream(over) {
    const silence = new AbortController();
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE);
    };
    const signal = either(over, silence.signal);
    let timer;
    let began = false;
    heard();
    try {
      const answer = await fetch(this.#where.live, { headers: { accept: "text/event-stream" }, cache: "no-store", signal });
      if (!answer.ok) {
        const { detail: problem = "" } = await answer.json().catch(() => ({}));
        return { status: answer.status, problem, retryAfter: Number(answer.headers.get("Retry-After") ?? 5) };
      }
      const reader = answer.body.getReader();
      const decoder = new TextDecoder();
      for (let rest = ""; ; ) {
        const { done, value } = await reader.read();
        if (done) return { began };
        heard();
        const events = (rest + decoder.decode(value, { stream: true })).split("\n\n");
        rest = events.pop();
        for (const event of events) {
          const lines = event.split("\n").filter((line) => line.startsWith("data: "));
          if (!lines.length) continue;
          if (!began) this.#say({ trouble: "" });
          began = true;
          this.#say({ html: lines.map((line) => line.slice(6)).join("\n") });
        }
      }
    } catch {
      return { began };
    } finally {
      clearTimeout(timer);
      silence.abort();
    }
  }

  /** Ask for the list for a minute. Whether the Hub answered. */
  async #poll(over) {
    for (let left = 4; left && !over.aborted; left--) {
      try {
        const headers = { "HX-Request": "true", "Hub-Login": new URLSearchParams(this.#where.live.split("?")[1]).get("login") };
        const answer = await fetch(this.#where.page, { headers, cache: "no-store", signal: over });
        if (answer.ok && !answer.headers.has("HX-Redirect")) this.#say({ html: await answer.text() });
      } catch {
        return true;
      }
      await pause(POLL, over);
    }
    return false;
  }
}

function pause(milliseconds, over) {
  return new Promise((done) => {
    const timer = setTimeout(done, milliseconds);
    over.addEventListener("abort", () => {
      clearTimeout(timer);
      done();
    });
  });
}

/** (`AbortSignal.any`, for browsers without it.) */
function either(one, other) {
  const both = new AbortController();
  for (const signal of [one, other]) signal.addEventListener("abort", () => both.abort());
  if (one.aborted || other.aborted) both.abort();
  return both.signal;
}
