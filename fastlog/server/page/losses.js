// The losses, each under its cause, with the time of the first and the last. Whoever has looked into them marks them as
// seen: then only what is lost from then on is alarming. This browser keeps what was seen, for one run of the server.

import { byId, fromTemplate, recall, remember, setForeignText, setText, syncRows } from "./dom.js";
import { count, largestUnit } from "./format.js";
import { asNumber, asText, lookUp } from "./json.js";
import { timeElement } from "./times.js";
import { link } from "./views.js";

const FRESH_SECONDS = 300; // an older loss is still shown, but no longer in the warning colour: docs/http-api.md
const PARTS_SHOWN = 6; // reasons or senders listed below one loss

const elements = [...document.querySelectorAll("[data-loss]")];
let last = null; // the newest figures

// Returns whether something is lost that is alarming: fresh, and not seen.
export function showLosses(stats) {
  last = stats;
  showParts("rejected-by-reason", Object.entries(stats.rejected), (reason) => link("rejected", { reason }));
  showParts("gaps-by-sender", stats.top_senders.map(({ address, lost }) => [address, lost]), (address) => link("sender", { address }));
  showParts("throttled-by-address", stats.throttled.map((host) => [host.address, host.rejected + host.filtered]));
  const seen = seenIn(stats);
  const losses = elements.map((element) => describe(element, stats, seen));
  losses.forEach(showLoss);
  const counting = losses.filter(({ counts }) => counts);
  const unseen = counting.filter(({ amount, known }) => amount > known);
  showVerdict(counting, unseen);
  byId("seen").hidden = unseen.length === 0;
  return { alarming: losses.some(isAlarming), unseen: unseen.length > 0 ? youngest(unseen) : null };
}

function describe(element, stats, seen) {
  const loss = element.dataset.loss;
  return {
    element,
    amount: asNumber(lookUp(stats, element.dataset.show)),
    known: seen.amounts[loss] ?? 0,
    age: asNumber(stats.losses.seconds_since[loss]),
    firstAge: asNumber(stats.losses.first_seconds_since?.[loss]),
    // Where the kernel's drops are unknown, only gaps show a loss on the way. Otherwise they only repeat one.
    counts: loss !== "sequence_gaps" || stats.losses.network === null,
  };
}

function isAlarming({ amount, known, age, counts }) {
  return counts && amount > known && age !== null && age < FRESH_SECONDS;
}

function showLoss(loss) {
  const { element, amount, known, age, firstAge } = loss;
  element.classList.toggle("lost", isAlarming(loss));
  element.classList.toggle("past", amount > 0 && !isAlarming(loss));
  const when = element.closest(".loss").querySelector(".when");
  if (!(amount > 0)) return when.replaceChildren();
  if (age === null) return when.replaceChildren("before the start");
  const first = firstAge === null || firstAge - age < 1 ? [] : ["first ", timeElement(before(firstAge), "near"), ", "];
  const fresh = amount > known && known > 0 ? `, ${count(amount - known)} not seen` : amount > known ? "" : ", seen";
  when.replaceChildren(...first, "last ", timeElement(before(age), "near"), ` (${largestUnit(age)} ago)${fresh}`);
}

function before(seconds) {
  return new Date(Date.now() - seconds * 1000);
}

function youngest(losses) {
  const ages = losses.filter(({ amount, age }) => amount > 0 && age !== null).map(({ age }) => age);
  return ages.length ? Math.min(...ages) : null;
}

function showVerdict(losses, unseen) {
  const [age, ageUnseen] = [youngest(losses), youngest(unseen)];
  const unknowns = losses.filter(({ amount }) => amount === null).length;
  const doubt = unknowns === 1 ? ", one figure is unknown" : unknowns ? `, ${unknowns} figures are unknown` : "";
  const nothing = unknowns ? "No known loss" : "Nothing lost";
  let finding = `${nothing} since the start`;
  if (ageUnseen !== null && ageUnseen < FRESH_SECONDS) finding = `Input lost ${largestUnit(ageUnseen)} ago`;
  else if (ageUnseen !== null) finding = `${nothing} for ${largestUnit(ageUnseen)}`;
  else if (age !== null) finding = "Nothing new since you marked the losses as seen";
  setText(byId("verdict"), finding + doubt);
  byId("verdict").classList.toggle("bad", ageUnseen !== null && ageUnseen < FRESH_SECONDS);
}

// ---- What was seen --------------------------------------------------------------------------------------------------

// Counts begin at 0 with a new run of the server, so what was seen of another run counts for nothing.
function seenIn(stats) {
  const seen = recall("seen");
  return seen?.started === asNumber(stats.process.started) ? seen : { amounts: {} };
}

export function markSeen() {
  if (last === null) return;
  const amounts = Object.fromEntries(elements.map(({ dataset }) => [dataset.loss, asNumber(lookUp(last, dataset.show)) ?? 0]));
  remember("seen", { started: asNumber(last.process.started), amounts });
  byId("seen").dispatchEvent(new CustomEvent("seen", { bubbles: true }));
}

byId("seen").addEventListener("click", markSeen);

// ---- The parts of a loss --------------------------------------------------------------------------------------------

function showParts(id, amounts, target = null) {
  const parts = amounts.map(([name, value]) => ({ name: asText(name), amount: asNumber(value) }));
  const some = parts.filter(({ amount }) => amount > 0).sort((a, b) => b.amount - a.amount);
  const rest = some.splice(PARTS_SHOWN).reduce((sum, { amount }) => sum + amount, 0);
  const items = some.map((part) => ({ ...part, href: target?.(part.name) }));
  if (rest > 0) items.push({ name: "others", amount: rest });
  const make = ({ name, href }) => {
    const part = fromTemplate("part");
    const anchor = part.querySelector("a");
    setForeignText(anchor.querySelector("bdi"), name);
    if (href) anchor.href = href;
    return part;
  };
  syncRows(byId(id), items, ({ name }) => name, make, (part, { amount }) => setText(part.querySelector("b"), count(amount)));
}
