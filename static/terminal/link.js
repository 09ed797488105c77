/** The WebSocket to the Hub (hub.tty.v1): acknowledgements, pings, and detection of a dead connection. */

import { page } from "./words.js";

const ACK_EVERY = 48 * 1024; // Bytes. Half of what the Hub lets be in flight (app/terminal/fanout.py): it never waits for long.
const MESSAGE = 60 * 1024; // Bytes of keys in one message; the Hub takes 64 KiB.
const FIRST_MESSAGE = 10_000; // Milliseconds, like those that follow.
const PING_EVERY = 20_000;
const SILENCE = 15_000; // After a ping. With what is between two pings and two looks, a dead peer is found within 45 s.
const PROBE = 5_000;
const ANSWER = 3_000; // After this, a person is told that there is no answer, and keys are not taken until there is one.

/** One WebSocket, from its opening to its close. Calls `on.message(object)`, `on.silent(is)` and, once, `on.close(code, reason,
 *  unsure)`, where `unsure` says that keys were sent of which nobody knows whether they arrived. */
export class Connection {
  live = false; // The Hub has said hello, so keys go somewhere.
  silent = false; // It does not answer just now.
  roundTrip = null;
  #socket;
  #screen;
  #on;
  #timers = [];
  #written = 0;
  #acked = 0;
  #pinged = 0;
  #typed = 0;
  #unanswered = null; // A timer, while a ping is on its way.
  #heard = performance.now();

  constructor(screen, size, on) {
    this.#screen = screen;
    this.#on = on;
    const url = new URL(`/sessions/${encodeURIComponent(page.dataset.session)}/tty`, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    // A hidden window does not decide the size.
    if (size) url.search = new URLSearchParams(size);
    url.searchParams.set("login", page.dataset.login);
    if (page.dataset.watch === "yes") url.searchParams.set("watch", "1");
    const socket = (this.#socket = new WebSocket(url, ["hub.tty.v1"]));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#send({ type: "ack", bytes: 0 }); // From the first byte on, the Hub waits for us.
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code, reason }) => this.close(code, reason);
    this.#timers.push(setTimeout(() => this.live || this.close(1006, ""), FIRST_MESSAGE));
    this.#timers.push(setInterval(() => this.#check(), PING_EVERY / 4));
  }

  keys(bytes) {
    // A dead connection shows first when a key is sent.
    this.#typed = performance.now();
    if (this.#typed - this.#heard > ANSWER) this.ping();
    for (let at = 0; at < bytes.length; at += MESSAGE) this.#socket.send(bytes.subarray(at, at + MESSAGE));
  }

  resize(cols, rows) {
    this.#send({ type: "resize", cols, rows });
  }

  /** Find out now whether the other end is there. */
  probe() {
    const asked = performance.now();
    this.ping();
    this.#timers.push(setTimeout(() => this.#heard < asked && this.close(1006, ""), PROBE));
  }

  close(code = 1000, reason = "") {
    if (!this.#socket) return;
    const socket = this.#socket;
    this.#socket = null;
    this.live = false;
    this.#timers.forEach(clearTimeout);
    clearTimeout(this.#unanswered);
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    this.#on.close(code, reason, this.#typed > this.#heard);
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #receive(data) {
    this.#heard = performance.now();
    if (this.silent) this.#on.silent((this.silent = false));
    if (typeof data !== "string") return this.#write(new Uint8Array(data));
    const message = JSON.parse(data);
    if (message.type === "pong") {
      this.roundTrip = performance.now() - this.#pinged;
      clearTimeout(this.#unanswered);
      this.#unanswered = null;
    }
    if (message.type === "hello") this.live = true;
    this.#on.message(message);
  }

  #write(bytes) {
    this.#screen.term.write(bytes, () => {
      this.#written += bytes.length;
      if (this.#written - this.#acked >= ACK_EVERY) {
        this.#acked = this.#written;
        this.#send({ type: "ack", bytes: this.#written });
      }
    });
  }

  /** Ask whether the Hub answers; the answer also gives the round trip. */
  ping() {
    // One at a time: the answer to the first would be measured from the second.
    if (this.#unanswered || this.#socket?.readyState !== WebSocket.OPEN) return;
    const asked = (this.#pinged = performance.now());
    this.#send({ type: "ping" });
    this.#unanswered = setTimeout(() => {
      // Any message since then shows that the Hub is there. Where the answer waits behind much output, ask again.
      if (this.#heard < asked) this.#on.silent((this.silent = true));
      else this.#unanswered = null;
    }, ANSWER);
  }

  #check() {
    const now = performance.now();
    // By the ping and not by the clock: in a hidden tab, timers come once a minute.
    if (this.#unanswered && this.#heard < this.#pinged && now - this.#pinged > SILENCE) this.close(1006, "");
    else if (now - this.#pinged >= PING_EVERY) this.ping();
  }
}
