/** Asks the Hub for something, other than by the WebSocket. */

import { count, page, toast } from "./words.js";

const MAX_WAIT = 60; // Seconds. A longer wait is for the person to decide about.
const MAX_RETRIES = 3;

/** Says for whom the page was made: the Hub refuses it once another person is logged in. */
export const OURS = { "Hub-Login": page.dataset.login };

/** As `fetch` for this page, and once more where the Hub says that too many requests came, and when it takes more. */
export async function patientFetch(address, options) {
  for (let tries = 0; ; tries++) {
    const answer = await fetch(address, { ...options, headers: { ...options?.headers, ...OURS } });
    const wait = answer.status === 429 ? Number(answer.headers.get("Retry-After") ?? 0) : 0;
    if (!(wait > 0 && wait <= MAX_WAIT) || tries === MAX_RETRIES) return answer;
    toast(`Too many requests. Trying again in ${count(wait, "second")}.`, { tone: "warn", seconds: wait });
    await new Promise((later) => setTimeout(later, wait * 1000));
  }
}

/** Gives the answer. Raises with words for a person, and with the `status` where there was an answer. */
export async function ask(address, { method = "POST", body } = {}) {
  let answer;
  try {
    answer = await patientFetch(address, { method, body, headers: { accept: "application/json" } });
  } catch {
    throw new Error("The Hub cannot be reached just now.");
  }
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  throw Object.assign(new Error(problem.detail ?? problem.title ?? "The Hub did not do that."), { status: answer.status });
}
