// The dashboard's behaviour: asks /stats every two seconds and writes changes into the places of index.html.
//
// Rules: text from strangers reaches the page only as text nodes; a figure that is null is never shown as 0; a row that
// has not changed is not touched, so that scroll position, selection, focus and filter survive every refresh.

"use strict";

const POLL_MS = 2000;
const POLL_HIDDEN_MS = 20000; // nobody is looking: only the title has to keep up
const PAUSE_MS = 500; // minimum rest between two requests, for a server that answers slowly
const TIMEOUT_MS = 5000;

const LOSS_FRESH_SECONDS = 300; // an older loss is still shown, but no longer in the warning colour: docs/http-api.md

const CHART_SECONDS = 300;
const CHART_HEIGHT = 100;
const PREVIEW_CHARS = 600; // a closed row lays out no more of its message: the clamp would hide it
const SHORT_CHARS = 150; // a message up to this length fits the clamp
const SHORT_CELL_CHARS = 30; // any other cell up to this length is shown whole
const PARTS_SHOWN = 6; // reasons or senders listed below one loss

const THIN_SPACE = "\u202f";
const UNKNOWN = "unknown";
const LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "OTHER"];
const OTHER_NAMES = {
  // made by make docs: aliases. Change fastlog/entry.py instead.
  DEBUG: "TRACE VERBOSE SILLY HTTP CONFIG FINE FINER FINEST TRACE1 TRACE2 TRACE3 TRACE4 TRACE5 TRACE6 TRACE7 TRACE8 DEBUG1 DEBUG2 DEBUG3 DEBUG4 DEBUG5 D1 D2 D3 D4 D5 DBG DBUG TRC TRCE VRB D T V 7 10 20",
  INFO: "NOTICE INFORMATION INFORMATIONAL NOTE LOG SUCCESS INFO2 INFO3 INFO4 INF I 5 6 30",
  WARNING: "WARN WARN2 WARN3 WARN4 WRN W 4 40",
  ERROR: "ERR SEVERE FAIL ERROR2 ERROR3 ERROR4 E 3 50",
  CRITICAL: "CRIT FATAL ALERT EMERG EMERGENCY PANIC DPANIC FAULT ASSERT FATAL2 FATAL3 FATAL4 FTL PNC C F 0 1 2 60",
  // end of aliases.
};
const LEVEL_OF_NAME = new Map(
  Object.entries(OTHER_NAMES).flatMap(([level, names]) => names.split(" ").map((name) => [name, level])),
);
const TRACEBACK = /^Traceback \(most recent call last\):$/m; // the first line of one that Python has formatted
const COLUMNS = ["timestamp", "level", "sequence", "app", "host", "message"];
const RECORDED = { timestamp: "received", host: "source" }; // by the server, shown where the sender says nothing

const byId = (id) => document.getElementById(id);

// ---- Reading JSON without rounding ----------------------------------------------------------------------------------
// A sequence goes up to 2^64 - 1 and other fields hold any number, but JSON.parse rounds them. So each number that
// JavaScript would write differently is turned into a string with a mark that no sender can guess.

const MARK = `${crypto.getRandomValues(new Uint32Array(4)).join("-")}:`;
const STRING_OR_NUMBER = /"[^"\\]*(?:\\[^][^"\\]*)*"|-?\d[\d.eE+-]*/g;
const MARKED = new RegExp(`"${MARK}([^"]*)"`, "g");

function parseExactly(json) {
  const keep = (token) => token[0] === '"' || String(Number(token)) === token;
  return JSON.parse(json.replace(STRING_OR_NUMBER, (token) => (keep(token) ? token : `"${MARK}${token}"`)));
}

function unmark(text) {
  return text.startsWith(MARK) ? text.slice(MARK.length) : text;
}

// Any JSON value as its sender wrote it; a string without its quotes.
function asText(value) {
  return typeof value === "string" ? unmark(value) : JSON.stringify(value).replace(MARKED, "$1");
}

function asNumber(value) {
  if (value === null || value === undefined) return null;
  return Number(typeof value === "string" ? unmark(value) : value);
}

function lookUp(stats, path) {
  return path.split(".").reduce((found, key) => found?.[key], stats) ?? null;
}

// ---- Writing figures ------------------------------------------------------------------------------------------------

function grouped(digits) {
  return digits.replace(/\B(?=(\d{3})+$)/g, ",");
}

function count(value) {
  return grouped(String(Math.round(asNumber(value))));
}

function rate(value) {
  const number = asNumber(value);
  return number > 0 && number < 9.95 ? number.toFixed(1) : count(number);
}

function milliseconds(value) {
  const number = asNumber(value);
  const places = number < 9.995 ? 2 : number < 99.95 ? 1 : 0;
  return `${places ? number.toFixed(places) : count(number)}${THIN_SPACE}ms`;
}

// Decimal units, like the settings: an MB of MAX_LOG_SIZE_MB has 1,000,000 bytes.
function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
  let number = asNumber(value);
  let unit = 0;
  while (number >= 999.5 && unit < units.length - 1) {
    number /= 1000;
    unit += 1;
  }
  const places = unit === 0 || number >= 99.95 ? 0 : number >= 9.995 ? 1 : 2;
  return `${number.toFixed(places)}${THIN_SPACE}${units[unit]}`;
}

function exactBytes(value) {
  return `${count(value)} bytes`;
}

function duration(value) {
  const seconds = Math.floor(asNumber(value));
  const parts = [
    [Math.floor(seconds / 86400), "d"], [Math.floor(seconds / 3600) % 24, "h"], [Math.floor(seconds / 60) % 60, "min"],
  ];
  const first = parts.findIndex(([amount]) => amount > 0);
  if (first === -1) return `${seconds} s`;
  if (first === 2) parts.push([seconds % 60, "s"]);
  return parts.slice(first).map(([amount, unit]) => `${amount} ${unit}`).join(" ");
}

function largestUnit(value) {
  return duration(value).match(/\d+ \w+/)[0];
}

function percent(part, whole) {
  if (whole === 0) return "0%";
  const share = (100 * part) / whole;
  if (part > 0 && share < 0.1) return "<0.1%";
  return `${share.toFixed(share > 0 && share < 99.95 ? 1 : 0)}%`;
}

// The time of day where the browser is, with its zone, since the entries' timestamps are usually UTC.
function clock(date) {
  const two = (number) => String(number).padStart(2, "0");
  const ahead = -date.getTimezoneOffset();
  const [hours, minutes] = [Math.floor(Math.abs(ahead) / 60), Math.abs(ahead) % 60];
  const zone = ahead === 0 ? "" : `${ahead < 0 ? "\u2212" : "+"}${hours}${minutes ? `:${two(minutes)}` : ""}`;
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())} UTC${zone}`;
}

const FORMATS = { count, rate, bytes, exact: exactBytes, duration, ms: milliseconds, word: (value) => visible(asText(value)) };

// ---- Changing the page in place -------------------------------------------------------------------------------------

// Keeps the text node and leaves an equal text alone, so that a selection in it survives.
function setText(element, text) {
  const node = element.firstChild;
  if (node === null) element.append(text);
  else if (node.data !== text) node.data = text;
}

function setAttribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

function setFigure(element, value, format) {
  setText(element, value === null ? element.dataset.none ?? UNKNOWN : format(value));
  element.classList.toggle("unknown", value === null);
}

function fromTemplate(id) {
  return byId(id).content.firstElementChild.cloneNode(true);
}

const keptRows = new WeakMap();

// Makes the children of `parent` match `items`: the row of a key is made once, then updated, and moved only if needed.
function syncRows(parent, items, keyOf, make, update) {
  const before = keptRows.get(parent) ?? new Map();
  const after = new Map();
  for (const item of items) after.set(keyOf(item), before.get(keyOf(item)) ?? make(item));
  for (const [key, row] of before) if (!after.has(key)) row.remove();
  let place = parent.firstElementChild;
  for (const item of items) {
    const row = after.get(keyOf(item));
    if (row === place) place = place.nextElementSibling;
    else parent.insertBefore(row, place);
    update(row, item);
  }
  keptRows.set(parent, after);
}

// ---- Text from strangers --------------------------------------------------------------------------------------------

// Controls, lone surrogates, and the characters that reorder or hide text.
const REORDERING = "\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069";
const HIDING =
  "\\u00ad\\u115f\\u1160\\u180e\\u200b\\u2028\\u2029\\u2060-\\u2065\\u206a-\\u206f\\u3164\\ufeff\\ufff9-\\ufffb\\u{e0000}-\\u{e007f}";
const UNSEEN = new RegExp(`[\\p{Cc}\\p{Cs}${REORDERING}${HIDING}]`, "gu");
const UNSEEN_BUT_LAYOUT = new RegExp(`(?![\\n\\t])${UNSEEN.source}`, "gu");

function symbol(character) {
  const code = character.codePointAt(0);
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  const hex = code.toString(16).toUpperCase();
  return code > 0xffff ? `\\u{${hex}}` : `\\u${hex.padStart(4, "0")}`;
}

function visible(text) {
  return text.replace(UNSEEN, symbol);
}

// Writes text with its unseen characters marked as symbols, so that a real one differs from a typed "\u202E".
function setForeignText(element, text, unseen = UNSEEN) {
  const pieces = [];
  let end = 0;
  for (const match of text.matchAll(unseen)) {
    const mark = document.createElement("span");
    mark.className = "unseen-character";
    mark.textContent = symbol(match[0]);
    pieces.push(text.slice(end, match.index), mark);
    end = match.index + match[0].length;
  }
  element.replaceChildren(...pieces, text.slice(end));
}

// ---- Figures with a place of their own ------------------------------------------------------------------------------

const places = [...document.querySelectorAll("[data-show]")].map((element) => ({
  element,
  path: element.dataset.show,
  format: FORMATS[element.dataset.as],
  loss: element.dataset.loss ?? null,
  warns: "warn" in element.dataset,
}));

function showFigures(stats) {
  for (const { element, path, format, warns } of places) {
    const value = lookUp(stats, path);
    setFigure(element, value, format);
    if (warns) element.classList.toggle("warned", asNumber(value) > 0);
  }
}

function showLevels(distribution) {
  const amounts = LEVELS.map((level) => asNumber(distribution[level]) ?? 0);
  const whole = amounts.reduce((sum, amount) => sum + amount, 0);
  const largest = Math.max(...amounts, 1);
  LEVELS.forEach((level, index) => {
    const row = document.querySelector(`#levels tr[data-level=${level}]`);
    row.querySelector(".fill").style.setProperty("width", `${(100 * amounts[index]) / largest}%`);
    row.classList.toggle("none", amounts[index] === 0);
    setText(row.querySelector(".amount"), count(amounts[index]));
    setText(row.querySelector(".share"), percent(amounts[index], whole));
  });
}

function showDisk(disk) {
  const state = byId("disk-state");
  setText(state, disk.failure === null ? "Working" : visible(asText(disk.failure)));
  state.classList.toggle("failing", disk.failure !== null);
  const limit = asNumber(disk.log_limit_bytes);
  const share = limit > 0 ? Math.min(100, (100 * asNumber(disk.log_bytes)) / limit) : 0;
  byId("gauge-fill").style.setProperty("width", `${share}%`);
  setAttribute(byId("gauge"), "aria-valuenow", share.toFixed(0));
  const free = asNumber(disk.free_bytes);
  const total = asNumber(disk.total_bytes);
  setFigure(byId("free"), free, () => (total === null ? bytes(free) : `${bytes(free)} of ${bytes(total)}`));
}

function showArchives(archives) {
  const deleted = asNumber(archives.deleted_files);
  const waiting = asNumber(archives.waiting_files);
  const more = (deleted > 0 ? `; ${count(deleted)} deleted` : "") + (waiting > 0 ? `; ${count(waiting)} to compress` : "");
  setFigure(byId("archives"), asNumber(archives.files), (files) => `${count(files)}, ${bytes(archives.bytes)}${more}`);
  byId("archives").classList.toggle("warned", archives.failure !== null);
}

// Where nobody ships the log, nothing is said of it.
function showShipping({ ship, losses }) {
  const shown = ship !== null || asNumber(losses.unshipped) > 0;
  for (const element of document.querySelectorAll(".shipping")) element.hidden = !shown;
  const lag = asNumber(ship?.lag_bytes);
  setFigure(byId("ship-lag"), lag, () => (lag > 0 ? `${bytes(lag)}, ${duration(ship.lag_seconds)} old` : "nothing"));
  const problem = asText(ship?.problem ?? "");
  setText(byId("ship-problem"), ship === null ? "nobody ships" : visible(problem) || "working");
  byId("ship-problem").classList.toggle("warned", problem !== "");
}

function showReceiveBuffer({ wanted, granted }) {
  byId("granted").classList.toggle("warned", asNumber(granted) < asNumber(wanted));
}

// One socket has all of the figures above; several are told apart.
function showListeners(listeners) {
  byId("listeners-table").hidden = listeners.length < 2;
  const make = ({ address }) => {
    const row = fromTemplate("listener-row");
    setForeignText(row.querySelector("bdi"), asText(address));
    return row;
  };
  syncRows(byId("listeners"), listeners, ({ address }) => address, make, (row, listener) => {
    setText(row.querySelector(".datagrams"), count(listener.datagrams));
    setFigure(row.querySelector(".dropped"), listener.kernel_drops, count);
    setText(row.querySelector(".errors"), count(listener.receive_errors));
  });
}

function showSenders(senders, gapsAge) {
  const body = byId("senders");
  const items = senders.length ? senders : [{ note: "none yet" }];
  syncRows(body, items, (item) => item.note ?? `@${item.address}`, makeSenderRow, (row, sender) => {
    if (sender.note) return;
    const gaps = row.querySelector(".gaps-here");
    setText(row.querySelector(".received"), count(sender.received));
    setText(gaps, count(sender.lost));
    gaps.classList.toggle("warned", asNumber(sender.lost) > 0 && isFresh(gapsAge));
    setText(row.querySelector(".heard"), `${largestUnit(sender.seconds_since_last)} ago`);
  });
}

function makeSenderRow({ note, address }) {
  if (note === undefined) {
    const row = fromTemplate("sender-row");
    setForeignText(row.querySelector("bdi"), asText(address));
    return row;
  }
  const row = document.createElement("tr");
  const cell = row.insertCell();
  cell.colSpan = 4;
  cell.className = note === UNKNOWN ? UNKNOWN : "quiet";
  cell.textContent = note;
  return row;
}

function showSettings(settings) {
  const make = ([name]) => {
    const pair = fromTemplate("pair");
    setText(pair.querySelector("dt"), visible(name));
    return pair;
  };
  syncRows(byId("settings-list"), Object.entries(settings), ([name]) => name, make, (pair, [, value]) => {
    setText(pair.querySelector("bdi"), visible(asText(value)) || "empty");
  });
}

// ---- Health and losses ----------------------------------------------------------------------------------------------

function showLosses(stats) {
  showParts("rejected-by-reason", Object.entries(stats.rejected));
  showParts("gaps-by-sender", stats.top_senders.map((sender) => [sender.address, sender.lost]));
  showParts("throttled-by-address", stats.throttled.map((host) => [host.address, host.rejected + host.filtered]));
  // Where the kernel's drops are unknown, only gaps show a loss on the way. Otherwise they only repeat one.
  const gapsCount = stats.losses.network === null;
  const losses = places.filter(({ loss }) => loss !== null).map(({ element, path, loss }) => ({
    element,
    amount: asNumber(lookUp(stats, path)),
    age: asNumber(stats.losses.seconds_since[loss]),
    counts: loss !== "sequence_gaps" || gapsCount,
  }));
  losses.forEach(showLoss);
  showVerdict(losses.filter(({ counts }) => counts));
}

// A loss of last week matters less than one of now: the warning colour fades, and the row says when it was.
function showLoss({ element, amount, age, counts }) {
  element.classList.toggle("lost", counts && amount > 0 && isFresh(age));
  element.classList.toggle("past", amount > 0 && !(counts && isFresh(age)));
  const when = age === null ? "before the start" : `last ${largestUnit(age)} ago`;
  setText(element.closest(".loss").querySelector(".when"), amount > 0 ? when : "");
}

function isFresh(age) {
  return age !== null && age < LOSS_FRESH_SECONDS;
}

function showParts(id, amounts) {
  const parts = amounts.map(([name, value]) => ({ name: asText(name), amount: asNumber(value) }));
  const some = parts.filter(({ amount }) => amount > 0).sort((a, b) => b.amount - a.amount);
  const rest = some.splice(PARTS_SHOWN).reduce((sum, { amount }) => sum + amount, 0);
  if (rest > 0) some.push({ name: "others", amount: rest });
  const make = ({ name }) => {
    const part = fromTemplate("part");
    setForeignText(part.querySelector("bdi"), name);
    return part;
  };
  const update = (part, { amount }) => setText(part.querySelector("b"), count(amount));
  syncRows(byId(id), some, ({ name }) => name, make, update);
}

function showVerdict(losses) {
  const ages = losses.filter(({ amount, age }) => amount > 0 && age !== null).map(({ age }) => age);
  const youngest = ages.length ? Math.min(...ages) : null;
  const unknowns = losses.filter(({ amount }) => amount === null).length;
  const doubt = unknowns === 1 ? ", one figure is unknown" : unknowns ? `, ${unknowns} figures are unknown` : "";
  const nothing = unknowns ? "No known loss" : "Nothing lost";
  let finding = `${nothing} since the start`;
  if (isFresh(youngest)) finding = `Input lost ${largestUnit(youngest)} ago`;
  else if (youngest !== null) finding = `${nothing} for ${largestUnit(youngest)}`;
  setText(byId("verdict"), finding + doubt);
  byId("verdict").classList.toggle("bad", isFresh(youngest));
}

function showHealth(health) {
  const reasons = health?.reasons ?? [];
  const warnings = health?.warnings ?? [];
  showNotes("reasons", reasons);
  showNotes("warnings", warnings);
  byId("health").hidden = reasons.length + warnings.length === 0;
  const also = warnings.length === 0 ? "" : warnings.length === 1 ? ", 1 warning" : `, ${warnings.length} warnings`;
  if (health?.status === "degraded") showState("degraded");
  else showState("ok", also);
}

function showNotes(id, notes) {
  const texts = [...new Set(notes.map(asText))];
  const make = (text) => {
    const item = document.createElement("li");
    setForeignText(item, text);
    return item;
  };
  syncRows(byId(id), texts, (text) => text, make, () => {});
}

function showState(state, also = "") {
  const element = byId("state");
  setText(element, state + also);
  setAttribute(element, "data-state", state);
}

// ---- The line -------------------------------------------------------------------------------------------------------

const chart = { figures: [], pointer: null };

function showRates({ history, average }) {
  chart.figures = history.slice(-CHART_SECONDS).map(asNumber);
  const top = roundUp(Math.max(...chart.figures, 1));
  const points = chart.figures.map((figure, index) => `${chartX(index)} ${chartY(figure, top)}`);
  const drawn = points.length > 1;
  setAttribute(byId("curve"), "d", drawn ? `M${points.join("L")}` : "");
  setAttribute(byId("area"), "d", drawn ? `M${points.join("L")}V${CHART_HEIGHT}H${chartX(0)}Z` : "");
  const mean = asNumber(average);
  const meanDrawn = drawn && mean > 0 && mean <= top;
  setAttribute(byId("average"), "d", meanDrawn ? `M0 ${chartY(mean, top)}H${CHART_SECONDS - 1}` : "");
  byId("no-history").hidden = drawn;
  setText(byId("scale-top"), drawn ? count(top) : "");
  setText(byId("scale-half"), drawn && top > 1 ? rate(top / 2) : "");
  setAttribute(byId("line"), "aria-label", describeLine());
  showReadout();
}

function chartX(index) {
  return CHART_SECONDS - chart.figures.length + index;
}

function chartY(figure, top) {
  return (CHART_HEIGHT * (1 - figure / top)).toFixed(2);
}

function roundUp(figure) {
  const power = 10 ** Math.floor(Math.log10(figure));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((step) => step * power >= figure) * power;
}

function describeLine() {
  const { figures } = chart;
  if (figures.length < 2) return "Logs per second, no figures yet";
  const [last] = figures.slice(-1);
  return `Logs per second over the last ${duration(figures.length)}: now ${count(last)}, `
    + `lowest ${count(Math.min(...figures))}, highest ${count(Math.max(...figures))}`;
}

function showReadout() {
  const { figures, pointer } = chart;
  const index = pointer === null ? -1 : Math.round(pointer * (CHART_SECONDS - 1)) - chartX(0);
  const under = index >= 0 && index < figures.length;
  setAttribute(byId("cross"), "d", under ? `M${chartX(index)} 0V${CHART_HEIGHT}` : "");
  setText(byId("readout"), under ? `${count(figures[index])}/s, ${duration(figures.length - 1 - index)} ago` : "");
}

byId("chart").addEventListener("pointermove", (event) => {
  const box = byId("line").getBoundingClientRect();
  chart.pointer = (event.clientX - box.left) / box.width;
  showReadout();
});

byId("chart").addEventListener("pointerleave", () => {
  chart.pointer = null;
  showReadout();
});

// ---- Recent errors --------------------------------------------------------------------------------------------------

let shownErrors = []; // {key, row, words}, the oldest first, as the server sends them
let errorsFilled = false;
let errorsTaken = 0; // since the server's start; the list has the newest of them

// The list is a window that moves along the entries: rows it has passed are removed at the foot of the table, new ones
// are added on top, and those between are not touched, even if some of them are equal.
function showErrors(entries, taken) {
  const keys = entries.map((entry) => JSON.stringify(entry));
  const gone = entriesGone(shownErrors.map(({ key }) => key), keys);
  for (const { row } of shownErrors.splice(0, gone)) row.remove();
  const added = keys.slice(shownErrors.length).map((key, index) => makeError(key, entries[shownErrors.length + index]));
  if (errorsFilled && gone === 0 && added.length === 0 && taken === errorsTaken) return;
  errorsTaken = taken;
  shownErrors = shownErrors.concat(added);
  keepScroll(() => byId("errors").prepend(...added.map(({ row }) => row).reverse()));
  applyFilter();
  errorsFilled = true;
}

// Otherwise the animation would run again whenever the filter shows the row.
byId("errors").addEventListener("animationend", (event) => event.target.classList.remove("new"));

function entriesGone(before, now) {
  for (let gone = 0; gone < before.length; gone += 1) {
    const rest = before.length - gone;
    if (rest <= now.length && now.slice(0, rest).every((key, index) => key === before[gone + index])) return gone;
  }
  return before.length;
}

// Rows added on top must not push away the row someone is reading; not every browser has scroll anchoring.
function keepScroll(change) {
  const scroller = byId("scroller");
  const { scrollTop, scrollHeight } = scroller;
  change();
  if (scrollTop > 0) scroller.scrollTop = scrollTop + scroller.scrollHeight - scrollHeight;
}

function makeError(key, entry) {
  const row = fromTemplate("error-row");
  const keys = COLUMNS.map((column) => (entry[column] === undefined || entry[column] === "" ? RECORDED[column] ?? column : column));
  const texts = keys.map((key) => (entry[key] === undefined ? "" : asText(entry[key])));
  const fields = Object.entries(entry).filter(([name]) => !COLUMNS.includes(name) && !keys.includes(name));
  row.dataset.level = knownLevel(texts[1]);
  row.classList.toggle("new", errorsFilled);
  COLUMNS.slice(0, -1).forEach((column, index) => showCell(row.querySelector(`.${column}`), texts[index]));
  const cramped = texts.slice(0, -1).some((text) => text.length > SHORT_CELL_CHARS);
  showMessage(row, texts.at(-1).replace(/\r\n/g, "\n"), fields, cramped);
  const words = [...texts, ...fields.flatMap(([name, value]) => [name, asText(value)])].join("\n").toLowerCase();
  return { key, row, words };
}

function knownLevel(text) {
  const level = text.replace(/[a-z]/g, (letter) => letter.toUpperCase()); // other letters have no case here
  if (LEVELS.includes(level)) return level;
  return LEVEL_OF_NAME.get(level) ?? "OTHER";
}

function showCell(cell, text) {
  cell.classList.toggle("missing", text === "");
  if (text !== "") setForeignText(cell.firstElementChild, text);
}

function showMessage(row, message, fields, cramped) {
  const text = row.querySelector(".text");
  const more = row.querySelector(".more");
  const closed = cutAt(preview(message, Object.fromEntries(fields).traceback), PREVIEW_CHARS);
  setForeignText(text, closed, UNSEEN_BUT_LAYOUT);
  const long = message.length > SHORT_CHARS || message.split("\n").length > 2;
  if (!long && !cramped && fields.length === 0) return;
  const label = moreLabel(long ? message.length : 0, cramped, fields.length);
  more.hidden = false;
  more.textContent = label;
  more.addEventListener("click", () => {
    const open = row.classList.toggle("open");
    more.setAttribute("aria-expanded", String(open));
    more.textContent = open ? "less" : label;
    if (closed !== message) setForeignText(text, open ? message : closed, UNSEEN_BUT_LAYOUT);
    showFields(row.querySelector(".fields"), open ? fields : []);
  });
}

// The last line of a traceback says what happened; the lines before it are much the same in every row. So a closed row
// shows the first line of the message, and what happened.
function preview(message, traceback) {
  const start = message.search(TRACEBACK);
  const happened = whatHappened(start === -1 ? asText(traceback ?? "") : message.slice(start));
  if (happened === null) return message;
  const said = (start === -1 ? message : message.slice(0, start)).trim().split("\n")[0];
  return [said, happened].filter(Boolean).join("\n");
}

// The exception and its text: from the first line without indentation after the calls of the last traceback; else null.
function whatHappened(text) {
  const calls = text.split(TRACEBACK).slice(1).at(-1);
  return calls?.match(/^\S[^]*/m)?.[0].trim() ?? null;
}

function cutAt(text, length) {
  if (text.length <= length) return text;
  const last = text.charCodeAt(length - 1);
  const halfOfPair = last >= 0xd800 && last <= 0xdbff;
  return `${text.slice(0, halfOfPair ? length - 1 : length)}…`;
}

function moreLabel(characters, cramped, fields) {
  const whole = characters ? `whole message, ${count(characters)} characters` : cramped ? "whole entry" : "";
  const others = fields === 0 ? "" : fields === 1 ? "1 more field" : `${count(fields)} more fields`;
  return [whole, others].filter(Boolean).join(" · ");
}

function showFields(list, fields) {
  list.hidden = fields.length === 0;
  list.replaceChildren(...fields.map(([name, value]) => {
    const pair = fromTemplate("pair");
    setForeignText(pair.querySelector("dt"), name);
    setForeignText(pair.querySelector("bdi"), asText(value));
    return pair;
  }));
}

// ---- The filter -----------------------------------------------------------------------------------------------------

const filter = byId("filter");

function applyFilter() {
  const terms = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let matching = 0;
  for (const { row, words } of shownErrors) {
    row.hidden = !terms.every((term) => words.includes(term));
    if (!row.hidden) matching += 1;
  }
  const all = shownErrors.length;
  const shown = errorsTaken > all ? `newest ${count(all)} of ${count(errorsTaken)}` : count(all);
  setText(byId("shown"), terms.length ? `${count(matching)} of ${count(all)} match` : shown);
  const none = errorsTaken > 0 ? "None is kept: MAX_ERRORS is 0." : "No errors so far.";
  setText(byId("no-errors"), all === 0 ? none : "No entry matches the filter.");
  byId("no-errors").hidden = matching > 0;
}

filter.addEventListener("input", applyFilter);

filter.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  event.preventDefault();
  filter.value = "";
  applyFilter();
});

document.addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLInputElement;
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  filter.focus();
});

// ---- Asking the server ----------------------------------------------------------------------------------------------

class Unusable extends Error {} // an answer, but not figures

let lastAnswer = new Date();
let asking = false;
let timer = 0;

async function fetchStats() {
  const abort = new AbortController();
  const timeout = setTimeout(() => abort.abort(), TIMEOUT_MS);
  try {
    const response = await fetch("stats", { cache: "no-store", signal: abort.signal });
    if (!response.ok) throw new Unusable(`the server says ${response.status}`);
    return await response.text();
  } finally {
    clearTimeout(timeout);
  }
}

async function poll() {
  clearTimeout(timer);
  asking = true;
  const started = performance.now();
  try {
    showAnswer(await fetchStats());
  } catch (error) {
    showNoAnswer(error);
  } finally {
    asking = false;
  }
  const wait = document.visibilityState === "hidden" ? POLL_HIDDEN_MS : POLL_MS;
  timer = setTimeout(poll, Math.max(PAUSE_MS, wait - (performance.now() - started)));
}

function pollNow() {
  if (!asking) poll();
}

function showAnswer(json) {
  try {
    show(withDerived(parseExactly(json)));
  } catch (error) {
    console.error(error);
    throw new Unusable("its answer is not readable");
  }
  lastAnswer = new Date();
  setText(byId("updated"), clock(lastAnswer));
  setBanner("");
  document.body.classList.remove("stale");
}

function withDerived(stats) {
  const rejected = Object.values(stats.rejected).reduce((sum, amount) => sum + asNumber(amount), 0);
  return { ...stats, derived: { rejected } };
}

function show(stats) {
  showFigures(stats);
  showRates(stats.rates);
  showLosses(stats);
  showHealth(stats.health);
  showLevels(stats.level_distribution);
  showDisk(stats.disk);
  showArchives(stats.archives);
  showShipping(stats);
  showReceiveBuffer(stats.receive_buffer);
  showListeners(stats.listeners);
  showErrors(stats.recent_errors, asNumber(stats.priority_entries));
  showSenders(stats.top_senders, asNumber(stats.losses.seconds_since.sequence_gaps));
  showSettings(stats.settings);
  showTitle(stats);
}

function showTitle(stats) {
  const alarmed = stats.health?.status === "degraded" || document.querySelector(".lost") !== null;
  document.title = `${alarmed ? "⚠ " : ""}${rate(stats.logs_per_second)}/s · fastlog`;
}

function showNoAnswer(error) {
  const why = error instanceof Unusable ? ` (${error.message})` : "";
  setBanner(`No answer since ${clock(lastAnswer)}${why}, trying again`);
  showState("offline");
  document.title = "offline · fastlog";
  document.body.classList.add("stale");
}

function setBanner(text) {
  setText(byId("banner"), text);
  byId("banner").classList.toggle("raised", text !== "");
}

document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") pollNow();
});

poll();
