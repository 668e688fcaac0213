// A sender's page: what the server's ledger has of it, when its gaps came, what it says it is, and its newest lines.

import { fetchJson, pathWith, Unusable } from "./ask.js";
import { byId, setForeignText, setText } from "./dom.js";
import { knownAs, makeEntry } from "./entry.js";
import { count, percent } from "./format.js";
import { asNumber, asText } from "./json.js";
import { knownLevel, LEVELS } from "./levels.js";
import { timeElement } from "./times.js";
import { addView, link } from "./views.js";

const POLL_MS = 5000;
const LOOKED_AT = 1000; // of its newest lines, the levels are counted: as many as /lines answers
const SHOWN = 20; // of these are on the page; the rest is a click away

let address = "";
let visit = null; // this opening of the view: an answer to an older one comes too late, even for the same sender
let timer = 0;

addView("sender", {
  open(parameters) {
    address = parameters.get("address") ?? "";
    setForeignText(byId("sender-address"), address);
    byId("sender-lines").href = link("lines", { source: address });
    for (const id of ["sender-facts", "sender-gaps", "sender-entries", "sender-levels"]) byId(id).replaceChildren();
    for (const id of ["sender-note", "sender-looked-at"]) setText(byId(id), "");
    byId("sender-no-lines").hidden = true;
    showSaid();
    visit = {};
    ask(visit);
    askLines(visit);
  },
  close() {
    clearTimeout(timer);
    visit = null;
  },
});

function showSaid() {
  setForeignText(byId("sender-said"), knownAs(address) || "not known");
}

async function ask(asking) {
  try {
    const sender = await fetchJson(pathWith("sender", { address }));
    if (asking === visit) show(sender);
  } catch (error) {
    if (asking === visit && error instanceof Unusable) setText(byId("sender-note"), error.message);
  }
  if (asking === visit) timer = setTimeout(() => ask(asking), POLL_MS);
}

function show(sender) {
  setText(byId("sender-note"), "");
  const time = (value) => (value === null || value === undefined ? "unknown" : timeElement(new Date(asNumber(value) * 1000), "full"));
  const amount = (value) => count(value);
  const facts = [
    ["Entries received", amount(sender.received)],
    ["Gaps", amount(sender.lost)],
    ["Sequences that came again", amount(sender.repeated)],
    ["Restarts", amount(sender.restarts)],
    ["First heard", time(sender.first_heard)],
    ["Last heard", time(sender.last_heard)],
  ];
  byId("sender-facts").replaceChildren(...facts.map(([name, value]) => makePair(name, value)));
  const gaps = sender.gaps ?? [];
  byId("sender-gaps").replaceChildren(...gaps.toReversed().map((gap) => makePair(time(gap.at), count(gap.count))));
  byId("sender-gaps-part").hidden = gaps.length === 0;
}

function makePair(name, value) {
  const pair = document.createElement("div");
  const term = document.createElement("dt");
  const fact = document.createElement("dd");
  term.append(name);
  fact.append(value);
  pair.append(term, fact);
  return pair;
}

async function askLines(asking) {
  try {
    const { lines, complete } = await fetchJson(pathWith("lines", { source: address, limit: String(LOOKED_AT) }));
    if (asking !== visit) return;
    showLevels(lines);
    byId("sender-entries").replaceChildren(...lines.slice(-SHOWN).toReversed().map((line) => makeEntry(line).row));
    byId("sender-no-lines").hidden = lines.length > 0 || !complete;
    if (lines.length === 0 && !complete) setText(byId("sender-looked-at"), "None in the newest part of the log; older lines were not looked at.");
    showSaid();
  } catch (error) {
    if (asking !== visit) return;
    const why = error instanceof Unusable ? error.message : "no answer";
    setText(byId("sender-looked-at"), `The log was not searched: ${why}.`);
  }
}

function showLevels(lines) {
  const levels = lines.map(({ level }) => knownLevel(asText(level ?? "")));
  const amounts = LEVELS.map((level) => [level, levels.filter((other) => other === level).length]).filter(([, amount]) => amount > 0);
  byId("sender-levels").replaceChildren(...amounts.map(([level, amount]) => {
    const anchor = document.createElement("a");
    anchor.href = link("lines", { source: address, level });
    anchor.textContent = level;
    return makePair(anchor, `${count(amount)} (${percent(amount, lines.length)})`);
  }));
  setText(byId("sender-looked-at"), lines.length === 0 ? "" : `of its newest ${count(lines.length)} lines`);
}
