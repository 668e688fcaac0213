// The dashboard's behaviour: asks /stats every two seconds and writes changes into the places of index.html.
//
// Rules: text from strangers reaches the page only as text nodes; a figure that is null is never shown as 0; a row that
// has not changed is not touched, so that scroll position, selection, focus and filter survive every refresh.
// One concept a file: views.js says which view is open, history.js has the chart, lines.js the lines as they come.

import { fetchJson, Unusable } from "./ask.js";
import { byId, setAttribute, setForeignText, syncRows } from "./dom.js";
import { showErrors } from "./errors.js";
import { showFigures } from "./figures.js";
import { rate } from "./format.js";
import { askHistory } from "./history.js";
import { asNumber, asText } from "./json.js";
import "./keys.js";
import { showReasons } from "./lines.js";
import { showLosses } from "./losses.js";
import "./sender.js";
import { setTime, showZone, timeElement } from "./times.js";
import { addView, startViews } from "./views.js";

const POLL_MS = 2000;
const POLL_HIDDEN_MS = 20000; // nobody is looking: only the title has to keep up
const PAUSE_MS = 500; // minimum rest between two requests, for a server that answers slowly

let lastAnswer = new Date();
let lastStats = null;
let asking = false;
let timer = 0;

async function poll() {
  clearTimeout(timer);
  asking = true;
  const started = performance.now();
  try {
    showAnswer(await fetchJson("stats"));
  } catch (error) {
    showNoAnswer(error);
  } finally {
    asking = false;
  }
  const wait = document.visibilityState === "hidden" ? POLL_HIDDEN_MS : POLL_MS;
  timer = setTimeout(poll, Math.max(PAUSE_MS, wait - (performance.now() - started)));
}

function showAnswer(stats) {
  try {
    show(withDerived(stats));
  } catch (error) {
    console.error(error);
    throw new Unusable("its answer is not readable");
  }
  lastAnswer = new Date();
  setTime(byId("updated"), lastAnswer, "clock");
  setBanner();
  document.body.classList.remove("stale");
}

function withDerived(stats) {
  const rejected = Object.values(stats.rejected).reduce((sum, amount) => sum + asNumber(amount), 0);
  return { ...stats, derived: { rejected } };
}

function show(stats) {
  lastStats = stats;
  showErrors(stats.recent_errors, asNumber(stats.priority_entries)); // first: it learns who the senders are
  showFigures(stats);
  showReasons(stats.rejected);
  const { alarming, unseen } = showLosses(stats);
  showHealth(stats.health, unseen);
  const alarmed = stats.health?.status === "degraded" || alarming;
  document.title = `${alarmed ? "⚠ " : ""}${rate(stats.logs_per_second)}/s · fastlog`;
}

function showHealth(health, unseen) {
  const reasons = health?.reasons ?? [];
  const warnings = health?.warnings ?? [];
  showNotes("reasons", reasons);
  showNotes("warnings", warnings);
  byId("health").hidden = reasons.length + warnings.length === 0;
  const also = [];
  if (warnings.length > 0) also.push(warnings.length === 1 ? ", 1 warning" : `, ${warnings.length} warnings`);
  if (unseen !== null) also.push(", input lost ", timeElement(new Date(Date.now() - unseen * 1000), "near"));
  showState(health?.status === "degraded" ? "degraded" : "ok", also, unseen !== null);
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

function showState(state, also = [], unseen = false) {
  const element = byId("state");
  element.replaceChildren(state, ...also);
  setAttribute(element, "data-state", state);
  element.classList.toggle("unseen-loss", unseen);
}

function showNoAnswer(error) {
  const why = error instanceof Unusable ? ` (${error.message})` : "";
  setBanner("No answer since ", timeElement(lastAnswer, "clock"), `${why}, trying again`);
  showState("offline");
  document.title = "offline · fastlog";
  document.body.classList.add("stale");
}

function setBanner(...parts) {
  byId("banner").replaceChildren(...parts);
  byId("banner").classList.toggle("raised", parts.length > 0);
}

document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible" && !asking) poll();
});
document.addEventListener("seen", () => show(lastStats));

addView("overview", {});
startViews();
showZone();
Promise.all([poll(), askHistory()]).then(() => document.body.classList.remove("empty"));
