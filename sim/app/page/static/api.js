// The page's only way to the server: the same JSON API that anyone may use.

export class Problem extends Error {
  constructor(error) {
    super(error.message);
    this.kind = error.kind;
    this.field = error.field || null;
  }
}

async function asked(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ kind: "limit", message: "The server does not answer. Is `gambrel ui` still running?" });
  }
  const body = await answer.json();
  if (body.error && !answer.ok) throw new Problem(body.error);
  return body;
}

export const get = (path, signal) => asked("/api/v1/" + path, { signal });

export const post = (path, body, signal) =>
  asked("/api/v1/" + path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal });

// Runs a simulation to its end. progress: called with {share, what}. Aborting the signal cancels it on the server too.
export async function simulate(body, progress, signal) {
  const run = await post("runs", body, signal);
  const path = "/api/v1/runs/" + run.id;
  return new Promise((resolve, reject) => {
    const stream = new EventSource(path + "/events");
    const over = (settle) => (event) => { stream.close(); settle(event); };
    signal.addEventListener("abort", over(() => {
      fetch(path, { method: "DELETE" }).catch(() => {});
      reject(new DOMException("cancelled", "AbortError"));
    }));
    if (signal.aborted) signal.dispatchEvent(new Event("abort"));
    stream.addEventListener("progress", (event) => progress(JSON.parse(event.data)));
    stream.addEventListener("done", over((event) => resolve(JSON.parse(event.data))));
    stream.addEventListener("failed", over((event) => reject(new Problem(JSON.parse(event.data).error))));
    stream.addEventListener("cancelled", over(() => reject(new DOMException("cancelled", "AbortError"))));
    stream.onerror = over(() => reject(new Problem({ kind: "limit", message: "The connection broke off. Ask again." })));
  });
}
