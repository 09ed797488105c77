/** Asks the Hub for something, other than by the WebSocket. */

/** Gives the answer. Raises with words for a person, and with the `status` where there was an answer. */
export async function ask(address, { method = "POST", body } = {}) {
  let answer;
  try {
    answer = await fetch(address, { method, body, headers: { accept: "application/json" } });
  } catch {
    throw new Error("The Hub cannot be reached just now.");
  }
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  throw Object.assign(new Error(problem.detail ?? problem.title ?? "The Hub did not do that."), { status: answer.status });
}
