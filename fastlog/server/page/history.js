// Figures over time: the rate with what was lost beneath it, and levels, ACK latency, processor and memory beside it, all
// over one range of time. A click on a moment opens its lines.

import { fetchJson } from "./ask.js";
import { Chart } from "./chart.js";
import { byId, fromTemplate, setAttribute, setText, syncRows } from "./dom.js";
import { bytes, count, milliseconds, rate } from "./format.js";
import { asNumber } from "./json.js";
import { LEVELS } from "./levels.js";
import { setTime, timeElement } from "./times.js";
import { currentView, go } from "./views.js";

const RANGES = { "5m": 2000, "1h": 10000, "24h": 60000, "7d": 300000 }; // and how often it is asked for, in ms
const RETRY_MS = 5000;
const LOOK_MS = 500; // between two looks whether it is time to ask
const MINUTE = 60; // seconds: the least that a click on a moment opens
const CAUSES = {
  kernel_drops: "kernel", network: "network", disk: "disk", unshipped: "unshipped", rejected: "rejected", filtered: "filtered",
};
const MARKS = { start: "server started", sender_restarts: "senders restarted" };

const main = new Chart(byId("chart"), { title: "Logs per second", lines: [{ name: "received", kind: "main" }], format: (figure) => `${rate(figure)}/s` });
const small = byId("small-charts");
const levels = new Chart(small, {
  title: "Levels, per second",
  lines: LEVELS.map((level) => ({ name: level, kind: `level-${level.toLowerCase()}` })),
  format: rate,
});
const latency = new Chart(small, {
  title: "ACK latency",
  lines: [{ name: "p50", kind: "first" }, { name: "p99", kind: "second" }],
  format: milliseconds,
});
const processor = new Chart(small, { title: "Processor", lines: [{ name: "CPU", kind: "first" }], format: (figure) => `${rate(figure)}%` });
const memory = new Chart(small, { title: "Memory", lines: [{ name: "resident", kind: "first" }], format: bytes });
const charts = [main, levels, latency, processor, memory];
for (const chart of charts) {
  setText(chart.element.querySelector(".title"), chart.title);
  for (const line of chart.lines) addLegend(chart, line);
}

let range = "5m";
let history = null; // the newest answer
let pointed = null; // the index of the step under the pointer
let due = 0;
let asking = false;

function addLegend(chart, { name, kind }) {
  const item = document.createElement("li");
  item.className = kind;
  item.textContent = name;
  chart.element.querySelector(".legend").append(item);
}

export function chooseRange(chosen) {
  range = chosen;
  due = 0;
  for (const button of byId("ranges").children) setAttribute(button, "aria-pressed", String(button.value === range));
  askHistory();
}

// Runs in every view, so that the overview is right when one comes back to it, but asks only where it is seen.
export async function askHistory() {
  const seen = currentView() === "overview" && document.visibilityState === "visible";
  if (asking || !seen || performance.now() < due) return;
  asking = true;
  const asked = range;
  try {
    const answer = await fetchJson(`history?range=${asked}`);
    if (asked === range) show(answer);
    due = asked === range ? performance.now() + RANGES[range] : 0;
  } catch {
    due = performance.now() + RETRY_MS; // the banner says that the server is gone
  } finally {
    asking = false;
  }
}

function show(answer) {
  const { series } = answer;
  history = { ...answer, step: asNumber(answer.step_seconds), end: asNumber(answer.end) };
  const ran = series.ran_seconds.map(asNumber);
  const perSecond = (figures) => figures.map((figure, index) => (figure !== null && ran[index] > 0 ? asNumber(figure) / ran[index] : null));
  main.show([perSecond(series.received)]);
  levels.show(LEVELS.map((level) => perSecond(series.levels[level] ?? series.received.map(() => null))));
  latency.show([series.ack_p50_ms.map(asNumber), series.ack_p99_ms.map(asNumber)]);
  processor.show([series.cpu_percent.map(asNumber)]);
  memory.show([series.resident_bytes.map(asNumber)]);
  history.length = series.received.length;
  showLosses(series.losses);
  showMarks(answer.marks);
  showTicks();
  const slider = byId("moment");
  setAttribute(slider, "aria-valuemax", String(history.length - 1));
  point(pointed === null ? null : Math.min(pointed, history.length - 1));
}

// ---- Losses and restarts --------------------------------------------------------------------------------------------

// One row of ticks for each cause that has lost something, and how much in this range.
function showLosses(losses) {
  const rows = Object.keys(CAUSES)
    .map((cause) => ({ cause, figures: (losses[cause] ?? []).map(asNumber) }))
    .map((row) => ({ ...row, sum: row.figures.reduce((sum, figure) => sum + Math.max(0, figure ?? 0), 0) }))
    .filter(({ sum }) => sum > 0);
  const make = ({ cause }) => {
    const row = fromTemplate("loss-ticks-row");
    setText(row.querySelector(".name"), CAUSES[cause]);
    return row;
  };
  syncRows(byId("loss-ticks"), rows, ({ cause }) => cause, make, (row, { figures, sum }) => {
    setText(row.querySelector("b"), count(sum));
    const ticks = figures.map((figure, index) => (figure > 0 ? `M${index} 0V10` : "")).join("");
    setAttribute(row.querySelector("svg"), "viewBox", `0 0 ${Math.max(1, figures.length - 1)} 10`);
    setAttribute(row.querySelector("path"), "d", ticks);
  });
  byId("no-loss-ticks").hidden = rows.length > 0;
}

function showMarks(marks) {
  const width = history.step * (history.length - 1);
  const first = history.end - history.step * history.length;
  const items = marks.map((mark) => ({ ...mark, at: asNumber(mark.at), count: asNumber(mark.count ?? 1) }))
    .filter(({ kind, at }) => kind in MARKS && at >= first);
  const make = ({ kind }) => {
    const item = document.createElement("li");
    item.className = `mark ${kind}`;
    return item;
  };
  syncRows(byId("marks"), items, ({ kind, at }) => `${kind} ${at}`, make, (item, { kind, at, count: times }) => {
    const share = Math.min(1, Math.max(0, (at - first - history.step / 2) / width));
    item.style.setProperty("left", `${(100 * share).toFixed(2)}%`);
    const words = kind === "start" ? MARKS.start : `${count(times)} ${MARKS.sender_restarts}`;
    if (item.dataset.said !== words) item.replaceChildren(unseen(words, timeElement(new Date(at * 1000), "near")));
    item.dataset.said = words;
  });
}

function unseen(words, time) {
  const element = document.createElement("span");
  element.className = "label";
  element.append(words, " ", time);
  return element;
}

function showTicks() {
  const ticks = byId("ticks").children;
  for (let part = 0; part < 5; part += 1) {
    const ago = history.step * history.length * (1 - part / 5);
    const format = { "5m": "minute", "1h": "minute", "24h": "minute", "7d": "day" }[range];
    setTime(ticks[part], new Date((history.end - ago) * 1000), format);
  }
}

// ---- The moment under the pointer -----------------------------------------------------------------------------------

function point(index) {
  pointed = index;
  for (const chart of charts) {
    chart.point(index);
    setText(chart.element.querySelector(".readout"), index === null || !history ? "" : chart.at(index).join(" · "));
  }
  const slider = byId("moment");
  if (index === null || !history) return;
  setAttribute(slider, "aria-valuenow", String(index));
  const readout = main.element.querySelector(".readout");
  const lost = lostAt(index);
  readout.replaceChildren(timeElement(timeOf(index), history.step < MINUTE ? "second" : "day"), ` · ${main.at(index).join(" · ")}${lost}`);
  setAttribute(slider, "aria-valuetext", readout.textContent);
}

function lostAt(index) {
  return Object.entries(CAUSES).map(([cause, name]) => [name, asNumber(history.series.losses[cause]?.[index])])
    .filter(([, figure]) => figure > 0).map(([name, figure]) => ` · ${name} lost ${count(figure)}`).join("");
}

function timeOf(index) {
  return new Date((history.end - history.step * (history.length - index)) * 1000);
}

function openMoment() {
  if (pointed === null || !history) return;
  const length = Math.max(MINUTE, history.step);
  const since = Math.floor(timeOf(pointed).getTime() / 1000 / length) * length;
  const at = (seconds) => new Date(seconds * 1000).toISOString();
  go("lines", { since: at(since), until: at(since + length) });
}

function movePointer(event) {
  if (!history) return;
  const box = byId("moment").getBoundingClientRect();
  const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  point(Math.round(share * (history.length - 1)));
}

const slider = byId("moment");
slider.addEventListener("pointermove", movePointer);
slider.addEventListener("pointerleave", () => point(null));
slider.addEventListener("click", (event) => {
  movePointer(event);
  openMoment();
});
slider.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity }[event.key];
  if (event.key === "Enter") openMoment();
  if (steps === undefined || !history) return;
  event.preventDefault();
  point(Math.min(history.length - 1, Math.max(0, (pointed ?? history.length - 1) + steps)));
});
slider.addEventListener("blur", () => point(null));
byId("ranges").addEventListener("click", (event) => event.target.value && chooseRange(event.target.value));

setInterval(askHistory, LOOK_MS);
