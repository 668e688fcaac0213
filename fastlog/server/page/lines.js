// The lines themselves, in two views: entries, and rejected input. Without a time range they are live: the newest ones,
// and then each one as it comes (/tap). With a range they are what the log has of it (/lines).

import { fetchJson, pathWith, Unusable } from "./ask.js";
import { setText, visible } from "./dom.js";
import { makeEntry, makeReject } from "./entry.js";
import { count } from "./format.js";
import { asText, parseExactly } from "./json.js";
import { fromInput, moment, onZone, timeElement, toInput } from "./times.js";
import { addView, currentView, go } from "./views.js";

const SHOWN_MAX = 1000; // lines kept in the page: as many as /lines answers, and quick to lay out
const NEWEST = 100; // lines that a live view begins with
const SHARE_MS = 5000; // the time over which the share of the lines shown is told
const RETRY_MS = 3000; // until the next try, where the browser does not try again itself
const AT_FOOT_PX = 4; // a scroller this near to its foot is at its foot: browsers round

class Lines {
  constructor(name, makeRow, fields) {
    this.name = name;
    this.section = document.querySelector(`[data-view=${name}]`);
    this.rejected = name === "rejected" ? "1" : "";
    this.makeRow = makeRow;
    this.fields = fields;
    this.form = this.find("form");
    this.scroller = this.find(".scroller");
    this.body = this.find("tbody");
    this.lines = []; // shown, the oldest first
    this.waiting = []; // came while the view was paused
    this.dropped = 0; // of these, for want of room
    this.stream = null;
    this.timer = 0; // until the next try
    this.shareTimer = 0; // until the share of the lines shown is told no more
    this.asked = 0; // the number of the newest question to /lines: an answer to an older one comes too late
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("change", (event) => this.ask(event.target.name === "last"));
    this.scroller.addEventListener("scroll", () => this.scrolled());
    this.scroller.addEventListener("click", (event) => event.target.closest(".more") && this.pause());
    this.find(".pause").addEventListener("click", () => this.pauseOrContinue());
    this.find(".download").addEventListener("click", () => this.download());
    onZone(() => this.showRange());
    addView(name, this);
  }

  find(selector) {
    return this.section.querySelector(selector);
  }

  // ---- What is asked for -------------------------------------------------------------------------------------------

  open(parameters) {
    this.parameters = parameters;
    for (const name of this.fields) this.fill(this.form.elements[name], parameters.get(name) ?? "");
    this.showRange();
    this.clear();
    if (this.isLive()) this.follow();
    else this.fetchRange();
    this.showMode();
  }

  // A link may hold what is no choice of the form, such as two levels. Then it becomes one, so that it is seen and kept.
  fill(field, value) {
    field.value = value;
    if (field.value === value || !(field instanceof HTMLSelectElement)) return;
    field.add(new Option(visible(value), value));
    field.value = value;
  }

  close() {
    this.stream?.close();
    this.stream = null;
    clearTimeout(this.timer);
    clearTimeout(this.shareTimer);
    this.asked += 1;
  }

  // Puts what the form says into the address, which opens the view anew.
  ask(lastChosen) {
    const { elements } = this.form;
    const asked = Object.fromEntries(this.fields.map((name) => [name, elements[name].value.trim()]));
    const seconds = Number(elements.last.value);
    if (lastChosen) {
      asked.since = seconds > 0 ? new Date(Date.now() - seconds * 1000).toISOString() : "";
    } else {
      asked.since = this.timeIn("since");
      asked.until = this.timeIn("until");
    }
    go(this.name, asked);
  }

  // The field has whole seconds only: where nobody has changed it, the time stays what it was.
  timeIn(name) {
    const given = this.parameters.get(name) ?? "";
    const time = fromInput(this.form.elements[name].value);
    if (time === null) return "";
    return time.getTime() === fromInput(inputOf(given))?.getTime() ? given : time.toISOString();
  }

  filters() {
    return Object.fromEntries(this.fields.map((name) => [name, this.parameters.get(name) ?? ""]));
  }

  isLive() {
    return !this.parameters.get("since") && !this.parameters.get("until");
  }

  showRange() {
    const { elements } = this.form;
    for (const name of ["since", "until"]) elements[name].value = inputOf(this.parameters?.get(name) ?? "");
    elements.last.value = this.parameters && this.isLive() ? "live" : "";
  }

  // ---- Live --------------------------------------------------------------------------------------------------------

  follow() {
    this.shares = []; // [time, shown, matching, estimated] of the newest events
    this.problem = "connecting";
    const path = pathWith("tap", { ...this.filters(), rejected: this.rejected, last: String(NEWEST) });
    this.stream = new EventSource(path);
    this.stream.addEventListener("open", () => this.empty(), { once: true }); // it begins with the newest lines
    this.stream.addEventListener("open", () => this.say(""));
    this.stream.addEventListener("entries", ({ data }) => this.take(parseExactly(data)));
    this.stream.addEventListener("state", ({ data }) => this.takeState(parseExactly(data)));
    this.stream.addEventListener("error", () => this.lost(path));
  }

  // The browser connects again by itself after a connection that broke, but not after an answer that is an error.
  async lost(path) {
    this.say("no answer, trying again");
    const { stream } = this;
    if (stream?.readyState !== EventSource.CLOSED) return;
    this.timer = setTimeout(() => this.followAgain(), RETRY_MS);
    try {
      const abort = new AbortController();
      const response = await fetch(path, { cache: "no-store", signal: abort.signal });
      const reason = response.ok ? null : (await response.json()).error;
      abort.abort();
      if (reason && this.stream === stream) this.say(`${asText(reason)}; trying again`);
    } catch {
      // There is no answer, as the view says already.
    }
  }

  // The form and the lines stay: somebody may be typing, or reading.
  followAgain() {
    this.close();
    this.follow();
    this.say("no answer, trying again");
  }

  takeState(state) {
    const reason = state.reason ?? state.error;
    this.say(reason ? asText(reason) : state.waiting ? "the log cannot be read at the moment, waiting for it" : "");
  }

  take({ lines, shown, matching, estimated }) {
    const now = performance.now();
    this.shares = this.shares.filter(([time]) => now - time < SHARE_MS);
    this.shares.push([now, Number(asText(shown)), Number(asText(matching)), estimated === true]);
    clearTimeout(this.shareTimer);
    this.shareTimer = setTimeout(() => this.forgetShares(), SHARE_MS); // no event says that nothing comes any more
    this.problem = "";
    if (this.paused) {
      this.waiting.push(...lines);
      this.dropped += this.waiting.splice(0, this.waiting.length - SHOWN_MAX).length;
    } else {
      this.append(lines);
      this.scroller.scrollTop = this.scroller.scrollHeight;
    }
    this.showMode();
  }

  forgetShares() {
    this.shares = [];
    this.showMode();
  }

  share() {
    const shown = this.shares.reduce((sum, share) => sum + share[1], 0);
    const matching = this.shares.reduce((sum, share) => sum + share[2], 0);
    if (matching <= shown) return "";
    const about = this.shares.some((share) => share[3]) ? "about " : "";
    return shown === 0 ? `none of ${about}${count(matching)} shown` : `1 of ${about}${count(matching / shown)} shown`;
  }

  scrolled() {
    if (this.stream === null) return;
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    const atFoot = scrollHeight - scrollTop - clientHeight <= AT_FOOT_PX;
    if (atFoot && this.paused) this.continue();
    else if (!atFoot && !this.paused) this.pause();
  }

  pause() {
    if (this.stream === null) return;
    this.paused = true;
    this.showMode();
  }

  continue() {
    if (this.stream === null) return;
    this.paused = false;
    this.append(this.waiting);
    this.waiting = [];
    this.dropped = 0;
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.showMode();
  }

  pauseOrContinue() {
    if (this.paused) this.continue();
    else this.pause();
  }

  // ---- A range of time ---------------------------------------------------------------------------------------------

  async fetchRange() {
    this.asked += 1;
    const { asked } = this;
    this.say("searching the log");
    const range = { since: this.parameters.get("since"), until: this.parameters.get("until"), limit: String(SHOWN_MAX) };
    try {
      const answer = await fetchJson(pathWith("lines", { ...this.filters(), rejected: this.rejected, ...range }));
      if (asked !== this.asked) return;
      this.append(answer.lines);
      this.problem = "";
      this.answer = answer;
    } catch (error) {
      if (asked !== this.asked) return;
      this.problem = error instanceof Unusable ? error.message : "no answer";
    }
    this.showMode();
  }

  // ---- What is shown -----------------------------------------------------------------------------------------------

  clear() {
    this.close();
    this.answer = null;
    this.empty();
  }

  empty() {
    this.lines = [];
    this.waiting = [];
    this.dropped = 0;
    this.paused = false;
    this.body.replaceChildren();
  }

  append(lines) {
    this.lines.push(...lines);
    this.body.append(...lines.map((line) => this.makeRow(line).row));
    const gone = this.lines.splice(0, this.lines.length - SHOWN_MAX).length;
    for (let row = 0; row < gone; row += 1) this.body.firstElementChild.remove();
  }

  say(problem) {
    this.problem = problem;
    this.showMode();
  }

  showMode() {
    const live = this.stream !== null;
    const mode = this.find(".mode");
    const button = this.find(".pause");
    button.hidden = !live;
    setText(button, this.paused ? "Continue" : "Pause");
    mode.classList.toggle("on", live && !this.paused && this.problem === "");
    mode.replaceChildren(...(this.problem ? [this.problem] : live ? this.liveWords() : this.rangeWords()));
    this.find(".none").hidden = this.lines.length > 0 || (!live && this.problem !== "");
    setText(this.find(".none"), live ? "No line yet. What matches is shown here as it comes." : "No line matches.");
  }

  liveWords() {
    const more = this.dropped > 0 ? `, the oldest ${count(this.dropped)} were left out` : "";
    const waits = this.paused ? `paused, ${count(this.waiting.length + this.dropped)} wait${more}` : "live";
    return [[waits, this.share()].filter(Boolean).join(" · ")];
  }

  rangeWords() {
    const { complete, oldest } = this.answer ?? {};
    const amount = this.lines.length === 1 ? "1 line" : `${count(this.lines.length)} lines`;
    if (complete !== false) return [`${amount}, all that match`];
    const time = moment(asText(oldest ?? ""));
    if (time === null) return [`the newest ${amount}; older ones were not looked at`];
    const older = document.createElement("button");
    older.type = "button";
    older.textContent = "search before that";
    older.addEventListener("click", () => go(this.name, { ...this.filters(), since: this.parameters.get("since"), until: oldest }));
    return [`the newest ${amount}; not searched before `, timeElement(time, "near"), " ", older];
  }

  download() {
    const text = this.lines.map((line) => `${asText(line)}\n`).join("");
    const anchor = document.createElement("a");
    anchor.href = URL.createObjectURL(new Blob([text], { type: "application/x-ndjson" }));
    anchor.download = this.rejected ? "rejects.ndjson" : "lines.ndjson";
    anchor.click();
    URL.revokeObjectURL(anchor.href);
  }
}

// The address may have a time as RFC 3339, or in seconds since 1970; null: neither, or too late for a date.
function momentOf(text) {
  if (!/^\d+(\.\d+)?$/.test(text)) return moment(text);
  const time = new Date(Number(text) * 1000);
  return Number.isNaN(time.getTime()) ? null : time;
}

// What a field for a time shows of it.
function inputOf(text) {
  const time = momentOf(text);
  return time === null ? "" : toInput(time);
}

const entries = new Lines("lines", makeEntry, ["level", "app", "host", "source", "text"]);
const rejects = new Lines("rejected", makeReject, ["reason", "source", "text"]);

function openLines() {
  return { lines: entries, rejected: rejects }[currentView()] ?? null;
}

export function pauseOrContinue() {
  openLines()?.pauseOrContinue();
}

export function continueLines() {
  openLines()?.continue();
}

// The reasons that the server has rejected input for can be chosen.
export function showReasons(rejected) {
  const select = rejects.form.elements.reason;
  const known = new Set([...select.options].map(({ value }) => value));
  for (const reason of Object.keys(rejected)) if (!known.has(reason)) select.add(new Option(reason, reason));
  const asked = rejects.parameters?.get("reason") ?? "";
  if (currentView() === "rejected" && select.value !== asked && document.activeElement !== select) select.value = asked;
}
