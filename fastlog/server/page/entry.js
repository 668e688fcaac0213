// The row of an entry, and of rejected input: what matters in one line, the rest behind a button.

import { fromTemplate, setForeignText, UNSEEN_BUT_LAYOUT } from "./dom.js";
import { asText } from "./json.js";
import { knownLevel } from "./levels.js";
import { moment, setTime } from "./times.js";
import { link } from "./views.js";

const PREVIEW_CHARS = 600; // a closed row lays out no more of its message: the clamp would hide it
const TRACEBACK = /^Traceback \(most recent call last\):$/m; // the first line of one that Python has formatted
const COLUMNS = ["timestamp", "level", "app", "host", "message"];
const RECORDED = { timestamp: "received", host: "source" }; // by the server, shown where the sender says nothing
const SENDERS_KNOWN_MAX = 1000; // senders whose host and app are kept: the ledger shows twenty at a time
const SAID_CHARS = 200; // kept of them: names are shorter, and an entry may have 60 kB of one
const COPIED_MS = 1500; // how long a button says that it has copied

const saidBySender = new Map(); // by address: what its entries say of their host and app

// What the entries seen so far say of their sender's host and app; empty: nothing.
export function knownAs(address) {
  return saidBySender.get(address) ?? "";
}

// Returns {row, words, alike}: `words` is what a filter searches, and entries with the same `alike` are equal but for
// numbers.
export function makeEntry(entry) {
  const row = fromTemplate("entry-row");
  const keys = COLUMNS.map((column) => (isEmpty(entry[column]) ? RECORDED[column] ?? column : column));
  const texts = keys.map((key) => (entry[key] === undefined ? "" : asText(entry[key])));
  const [timestamp, level, app, host] = texts;
  const message = texts[4].replace(/\r\n/g, "\n");
  row.dataset.level = knownLevel(level);
  showTimeCell(row.querySelector(".timestamp"), timestamp);
  showLinked(row.querySelector(".level"), level, link("lines", { level: row.dataset.level }));
  showLinked(row.querySelector(".app"), app, link("lines", { app }));
  showLinked(row.querySelector(".host"), host, link("lines", { [keys[3]]: host }));
  const closed = preview(message, entry.traceback);
  const fields = Object.entries(entry).filter(([name]) => !keys.includes(name) || name === "timestamp" || name === "received");
  fillMessage(row, closed, message, () => fields, entry);
  learn(entry);
  const words = [...texts, ...fields.flatMap(([name, value]) => [name, asText(value)])].join("\n").toLowerCase();
  const alike = JSON.stringify([row.dataset.level, app, host, closed.replace(/\d+/g, "0")]);
  return { row, words, alike, time: moment(timestamp) };
}

// A line of rejects.jsonl.
export function makeReject(note) {
  const row = fromTemplate("reject-row");
  const [time, reason, source] = ["time", "reason", "source"].map((key) => asText(note[key] ?? ""));
  showTimeCell(row.querySelector(".timestamp"), time);
  showLinked(row.querySelector(".reason"), reason, link("rejected", { reason }));
  showLinked(row.querySelector(".source"), source, link("rejected", { source }));
  const data = note.base64 === undefined ? asText(note.text ?? "") : escaped(asText(note.base64));
  const fields = Object.entries(note).filter(([name]) => !["reason", "source", "text", "base64"].includes(name));
  fillMessage(row, data, data, () => fields, note);
  return { row, words: "", alike: "", time: moment(time) };
}

// Bytes that are not UTF-8: what is not ASCII as \xNN.
function escaped(base64) {
  try {
    return atob(base64).replace(/[\x80-\xff]/g, (byte) => `\\x${byte.charCodeAt(0).toString(16)}`);
  } catch {
    return base64;
  }
}

function isEmpty(value) {
  return value === undefined || value === "";
}

function learn({ source, host, app }) {
  const said = [host, app].filter((value) => !isEmpty(value)).map(asText).join(" · ");
  if (isEmpty(source) || said === "") return;
  saidBySender.delete(asText(source)); // so that it is the newest
  if (saidBySender.size >= SENDERS_KNOWN_MAX) saidBySender.delete(saidBySender.keys().next().value);
  saidBySender.set(asText(source), cutAt(said, SAID_CHARS));
}

function showTimeCell(cell, text) {
  const time = moment(text);
  if (time !== null) setTime(cell.querySelector("time"), time, "full");
  else if (text !== "") setForeignText(cell.querySelector("time"), text);
  else cell.classList.add("missing");
}

function showLinked(cell, text, target) {
  cell.classList.toggle("missing", text === "");
  const anchor = cell.querySelector("a");
  if (text === "") anchor.remove();
  else {
    setForeignText(anchor, text);
    anchor.href = target;
  }
}

function fillMessage(row, preview, message, fieldsOf, line) {
  const text = row.querySelector(".text");
  const more = row.querySelector(".more");
  const closed = cutAt(preview, PREVIEW_CHARS);
  setForeignText(text, closed, UNSEEN_BUT_LAYOUT);
  more.addEventListener("click", () => {
    const open = row.classList.toggle("open");
    more.setAttribute("aria-expanded", String(open));
    if (closed !== message) setForeignText(text, open ? message : closed, UNSEEN_BUT_LAYOUT);
    const details = row.querySelector(".details");
    details.hidden = !open;
    details.querySelector(".fields").replaceChildren(...(open ? fieldsOf().map(makeField) : []));
  });
  row.querySelector(".copy").addEventListener("click", ({ currentTarget }) => copy(currentTarget, asText(line)));
}

function makeField([name, value]) {
  const pair = fromTemplate("pair");
  setForeignText(pair.querySelector("dt"), name);
  setForeignText(pair.querySelector("bdi"), asText(value));
  return pair;
}

async function copy(button, text) {
  let copied = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copied = copyBySelection(text); // the clipboard is only for https and localhost
    button.focus(); // the selection has taken it
  }
  button.dataset.label ??= button.textContent; // of a second click, it is "copied"
  button.textContent = copied ? "copied" : "not copied: the browser does not allow it";
  setTimeout(() => (button.textContent = button.dataset.label), COPIED_MS);
}

function copyBySelection(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "unseen";
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  return copied;
}

// The last line of a traceback says what happened; the lines before it are much the same in every row. So a closed row
// shows what happened, and behind it the first line of the message.
function preview(message, traceback) {
  const start = message.search(TRACEBACK);
  const happened = whatHappened(start === -1 ? asText(traceback ?? "") : message.slice(start));
  if (happened === null) return message;
  const said = (start === -1 ? message : message.slice(0, start)).trim().split("\n")[0];
  return [happened, said].filter(Boolean).join("\n");
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
