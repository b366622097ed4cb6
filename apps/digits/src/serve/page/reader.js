// Asks the server to read pictures: one at a time, always the newest, again where it must.

/** Longer than the server, if told no other, waits for a body (30 s) and lets an answer take (10 s). */
const LATEST = 45_000;
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 2000;

/** What may go wrong, by status; what is not here is told in the server's words. */
const TROUBLES = { 408: "late", 413: "large", 429: "busy", 503: "busy", 504: "late" };

export class Reader {
  /** `read(result, request)` and `failed(kind, why)` hear what comes of it; `well()` ends a trouble. */
  constructor({ read, failed, well }) {
    this.read = read;
    this.failed = failed;
    this.well = well;
    this.waiting = null;
    this.busy = false;
    this.pause = FIRST_PAUSE;
  }

  /**
   * Reads what `picture()` gives once it is its turn: `{ blob, ... }`. A newer request takes the
   * place of one that waits. `digit` is the one whose activations are wanted.
   */
  ask(picture, digit) {
    this.waiting = { picture, digit };
    if (!this.busy) this.#run();
  }

  /** Forgets what waits; what is under way is not told. */
  forget() {
    this.waiting = null;
    this.current = null;
    this.well();
  }

  async #run() {
    this.busy = true;
    while (this.waiting) {
      const request = this.waiting;
      this.waiting = null;
      this.current = request;
      const outcome = await this.#try(request);
      if (this.current !== request) continue;
      if (outcome.result) {
        this.pause = FIRST_PAUSE;
        this.well();
        this.read(outcome.result, outcome);
      } else if (!this.waiting) {
        this.failed(outcome.trouble, outcome.why);
        if (outcome.trouble === "unreachable" || outcome.trouble === "busy") {
          await new Promise((resolve) => setTimeout(resolve, this.pause));
          this.pause = Math.min(this.pause * 2, LONGEST_PAUSE);
          if (this.current === request) this.waiting ??= request;
        }
      }
    }
    this.busy = false;
  }

  async #try({ picture, digit }) {
    const started = performance.now();
    const { blob, place } = picture();
    const body = await blob;
    if (!body) return { trouble: "notImage" };
    const query = `seen=1&activations=${digit ?? "last"}`;
    const signal = AbortSignal.timeout(LATEST);
    let response, text;
    try {
      const headers = { "Content-Type": body.type || "application/octet-stream" };
      response = await fetch(`/v1/digits:read?${query}`, { method: "POST", headers, body, signal });
      text = await response.text();
    } catch {
      // What took too long takes as long again.
      return { trouble: signal.aborted ? "late" : "unreachable" };
    }
    let answer;
    try {
      answer = JSON.parse(text);
    } catch {
      return { trouble: "unreachable" };
    }
    if (!response.ok) {
      return { trouble: TROUBLES[response.status] ?? "refused", why: answer.error };
    }
    return { result: answer, place, ms: Math.round(performance.now() - started) };
  }
}
