"use strict";
// ---- The vote: what visual_memory.vote computes, in the same order ---------
const data = JSON.parse(document.getElementById("data").textContent);
const rows = data.rows.map(([id, label, picture, wrong, factor]) =>
  ({id, label, picture, wrong, factor}));

const VOTERS = {
  plurality: () => () => 1,
  distance: (e) => (s) => Math.exp(-e * (1 - s)),
  softmax: (t) => (s, i, first) => Math.exp((s - first) / t),
  rank: (a) => (s, i) => 1 / (a + i),
};

/** The neighbors that are left, best first: [{row, similarity, place}]. */
function neighborsLeft(query, edits, pruning) {
  return query.rows.map((row, place) => ({row, place,
    similarity: Math.fround(query.similarities[place])}))
    .filter(({row}) => !edits.removed.has(row) &&
      !(pruning.mode === "hard" && rows[row].wrong >= pruning.threshold));
}

/** Label of a row under the edits; -1 where it has none. */
function labelOf(row, edits) {
  return edits.relabeled.has(row) ? edits.relabeled.get(row) : rows[row].label;
}

/** Who leads after the first k: the lead passes on only to a greater sum. */
function vote(query, setting, edits, pruning) {
  const left = neighborsLeft(query, edits, pruning);
  const k = Math.min(setting.k, left.length);
  const weigh = VOTERS[setting.voter](setting.hyper);
  const sums = new Map(), weights = new Map();
  let best = -1, leader = -1;
  for (let i = 0; i < k; i++) {
    const {row, place, similarity} = left[i];
    const label = labelOf(row, edits);
    let weight = weigh(similarity, i, left[0].similarity);
    if (pruning.mode === "soft") weight *= rows[row].factor;
    weights.set(place, label < 0 ? 0 : weight);
    if (label < 0) continue;
    const sum = (sums.get(label) || 0) + weight;
    sums.set(label, sum);
    if (sum > best) { best = sum; leader = label; }
  }
  return {leader, sums, weights, k, short: setting.k > left.length};
}

// ---- State -----------------------------------------------------------------
const NO_EDITS = {removed: new Set(), relabeled: new Map()};
const AS_IS = {mode: "none", threshold: Infinity};
const edits = {removed: new Set(), relabeled: new Map()};
const state = {set: "", current: 0};
const $ = (id) => document.getElementById(id);
const name = (label) => label < 0 ? "unlabeled" : data.classes[label];

function setting() {
  const voter = $("voter").value, names = Object.keys(data.voters[voter]);
  return {voter, k: Number($("k").value),
    hyper: names.length ? Number($("hyper").value) : 0};
}

function pruning() {
  const mode = document.querySelector("[name=pruning]:checked")?.value || "none";
  return {mode, threshold: Number($("threshold")?.value || 1)};
}

function truth(query) {  // A memory row's label follows its edits.
  return query.row === undefined ? query.label : labelOf(query.row, edits);
}

const shown = () => data.queries.map((query, i) => i)
  .filter((i) => !state.set || data.queries[i].set === state.set);

// ---- Small DOM helpers -------------------------------------------------------
function node(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function picture(index, alt) {
  if (index < 0) return node("span", {class: "blank"}, "no image");
  return node("img", {src: data.pictures[index], alt,
    class: data.tiny[index] ? "tiny" : null});
}

const percent = (x) => `${(100 * x).toFixed(1)}\u00a0%`;
const number = (x) => x === 0 ? "0" : x >= 0.0995 ? x.toFixed(2) : x.toPrecision(2);

// ---- Drawing -----------------------------------------------------------------
function drawAll() {
  const focus = document.activeElement?.dataset?.focus;
  drawControls(); drawList(); drawQuery(); drawEdits(); drawSummary();
  if (focus) document.querySelector(`[data-focus="${CSS.escape(focus)}"]`)?.focus();
}

function drawControls() {
  const {voter, k} = setting(), hypers = Object.keys(data.voters[voter]);
  $("k-value").textContent = k;
  $("hyper-field").hidden = !hypers.length;
  if (hypers.length) $("hyper-name").textContent = hypers[0];
  if ($("threshold")) $("threshold").disabled = pruning().mode !== "hard";
}

function drawList() {
  const now = setting(), cut = pruning();
  $("list").replaceChildren(...shown().map((i) => {
    const query = data.queries[i];
    const {leader} = vote(query, now, edits, cut);
    const right = leader === truth(query);
    const mark = truth(query) < 0 ? "" : right ? "✓" : "✗";
    return node("li", {}, node("button", {type: "button", "data-focus": `q${i}`,
      class: truth(query) < 0 ? "" : right ? "right" : "wrong",
      tabindex: i === state.current ? 0 : -1,
      "aria-current": i === state.current ? "true" : null,
      onclick: () => open(i)},
      picture(query.picture, ""),
      node("span", {}, node("span", {class: "mark", "aria-hidden": "true"}, mark),
        ` ${name(leader)}`,
        node("span", {class: "hidden"}, right ? ", right" : ", wrong"))));
  }));
}

function drawQuery() {
  const query = data.queries[state.current], now = setting();
  const before = vote(query, now, NO_EDITS, AS_IS);
  const after = vote(query, now, edits, pruning());
  const label = truth(query);
  const place = shown().indexOf(state.current);
  $("position").textContent = place < 0 ? "" : `${place + 1} of ${shown().length}`;
  $("picture").replaceChildren(picture(query.picture, `query ${query.id}`));
  $("query-id").textContent = query.id;
  $("truth").textContent = name(label);
  $("truth-name").textContent = query.row === undefined ? "true class" : "label in the memory";
  const answer = $("answer");
  answer.textContent = after.leader < 0 ? "no vote" : name(after.leader);
  answer.className = label < 0 ? "" : after.leader === label ? "up" : "down";
  answer.dataset.label = after.leader;
  answer.dataset.k = after.k;
  $("was").textContent = before.leader === after.leader ? ""
    : `was ${name(before.leader)}`;
  $("short").hidden = !after.short;
  $("short").textContent = `Only ${after.k} of the neighbors retrieved for this `
    + `query are left: k = ${after.k} here. More need a new search.`;
  $("suspicion").hidden = query.suggested === undefined;
  if (query.suggested !== undefined) drawSuspicion(query);
  drawScores(before, after, label);
  drawNeighbors(query, before, after, label);
}

function drawSuspicion(query) {
  const text = `Its neighbors vote for ${name(query.suggested)} rather than `
    + `${name(rows[query.row].label)}: margin ${query.margin.toFixed(2)}. `;
  $("suspicion").replaceChildren(text, node("button", {type: "button",
    "data-focus": "accept", onclick: () => relabel(query.row, query.suggested)},
    `Relabel to ${name(query.suggested)}`), " ",
    node("button", {type: "button", "data-focus": "drop",
      onclick: () => toggle(query.row)},
      edits.removed.has(query.row) ? "Restore it" : "Remove it"));
}

function drawScores(before, after, label) {
  const total = (sums) => [...sums.values()].reduce((a, b) => a + b, 0) || 1;
  const all = [total(before.sums), total(after.sums)];
  const classes = [...new Set([...after.sums.keys(), ...before.sums.keys()])];
  const score = (c) => after.sums.get(c) || 0;
  // The winner of a tie is the class that reached the sum first.
  classes.sort((a, b) => (b === after.leader) - (a === after.leader)
    || score(b) - score(a) || a - b);
  $("scores").replaceChildren(...classes.map((c) => {
    const was = (before.sums.get(c) || 0) / all[0], is = score(c) / all[1];
    return node("tr", {"data-class": c, "data-score": score(c)},
      node("th", {scope: "row", class: c === label ? "up" : null},
        name(c) + (c === label ? " ✓" : "")),
      node("td", {class: "bars"},
        node("i", {class: "before", style: `width:${100 * was}%`}),
        node("i", {class: "after", style: `width:${100 * is}%`})),
      node("td", {}, number(before.sums.get(c) || 0)),
      node("td", {}, node("b", {}, number(score(c)))),
      node("td", {}, percent(is)));
  }));
}

function drawNeighbors(query, before, after, label) {
  const largest = Math.max(...before.weights.values(), ...after.weights.values(), 1e-300);
  $("neighbors").replaceChildren(...query.rows.map((row, place) =>
    neighborCard(query, row, place, before, after, label, largest)));
}

function neighborCard(query, row, place, before, after, label, largest) {
  const {id, wrong, factor, picture: image} = rows[row], cut = pruning();
  const now = labelOf(row, edits), removed = edits.removed.has(row);
  const pruned = cut.mode === "hard" && wrong >= cut.threshold;
  const was = before.weights.get(place), is = after.weights.get(place);
  const status = removed ? "removed" : pruned ? "pruned"
    : is === undefined ? "not voting" : was === undefined ? "moved up" : "voting";
  const bar = (kind, weight) => node("i", {class: kind,
    style: `width:${100 * (weight || 0) / largest}%`});
  return node("li", {"data-row": id, "data-weight": is ?? "",
      class: `${now === label ? "agrees" : "differs"} ${status.replace(" ", "-")}`},
    node("span", {class: "place"}, `${place + 1}`, node("em", {}, ` ${status}`)),
    picture(image, `neighbor ${place + 1}, ${name(now)}, ${id}`),
    node("b", {title: id}, now === rows[row].label ? name(now)
      : `${name(rows[row].label)} → ${name(now)}`, now === label ? " ✓" : ""),
    node("span", {class: "facts"}, `similarity ${query.similarities[place].toFixed(3)}`),
    node("span", {class: "bars", "aria-hidden": "true"}, bar("before", was), bar("after", is)),
    node("span", {class: "facts"}, "weight ",
      was === is ? number(is ?? 0) : `${number(was ?? 0)} → ${number(is ?? 0)}`),
    factor === null ? null : node("span", {class: "facts"},
      `wrong ${wrong}×, factor ${number(factor)}`),
    node("span", {class: "actions"},
      node("button", {type: "button", "data-focus": `x${row}`,
        "aria-pressed": removed ? "true" : "false",
        "aria-label": `${removed ? "Restore" : "Remove"} neighbor ${place + 1}, ${id}`,
        onclick: () => toggle(row)}, removed ? "Restore" : "Remove"),
      node("button", {type: "button", "data-focus": `r${row}`, disabled: removed,
        "aria-label": `Relabel neighbor ${place + 1}, ${id}`,
        onclick: () => askLabel(row)}, "Relabel")));
}

function drawEdits() {
  const affected = (row) => data.queries.filter((q) => q.rows.includes(row)).length;
  const item = (row, what, undo) => node("li", {}, `${what} `,
    node("code", {}, rows[row].id), ` (near ${affected(row)} of the queries here) `,
    node("button", {type: "button", "data-focus": `u${row}`, onclick: undo,
      "aria-label": `Undo: ${what} ${rows[row].id}`}, "Undo"));
  const items = [
    ...[...edits.removed].map((row) => item(row, "remove", () => toggle(row))),
    ...[...edits.relabeled].map(([row, label]) =>
      item(row, `relabel to ${name(label)}:`, () => relabel(row, rows[row].label)))];
  $("edit-list").replaceChildren(...items);
  $("no-edits").hidden = items.length > 0;
  $("reset").disabled = $("save").disabled = !items.length;
}

function drawSummary() {
  const now = setting(), cut = pruning();
  const known = data.queries.filter((q) => q.row === undefined && q.label >= 0);
  const right = (e, p) => known.filter((q) => vote(q, now, e, p).leader === q.label).length;
  const [was, is] = [right(NO_EDITS, AS_IS), right(edits, cut)];
  $("summary").textContent = `Right: ${is} of the ${known.length} test queries here`
    + (was === is ? "." : `, ${was} before.`);
}

// ---- Actions -------------------------------------------------------------------
function open(i) {
  state.current = i; drawAll();
  const button = document.querySelector(`[data-focus="q${i}"]`);
  button?.scrollIntoView({block: "nearest", inline: "nearest"});
}

function step(by) {
  const list = shown(), at = list.indexOf(state.current);
  const focused = document.activeElement?.dataset?.focus?.startsWith("q");
  open(list[Math.min(Math.max(at + by, 0), list.length - 1)]);
  if (focused) document.querySelector(`[data-focus="q${state.current}"]`)?.focus();
}

function toggle(row) {
  if (!edits.removed.delete(row)) { edits.removed.add(row); edits.relabeled.delete(row); }
  drawAll();
}

function relabel(row, label) {
  edits.removed.delete(row);
  if (label === rows[row].label) edits.relabeled.delete(row);
  else edits.relabeled.set(row, label);
  drawAll();
}

function askLabel(row) {
  const dialog = $("relabel");
  $("relabel-id").textContent = rows[row].id;
  $("relabel-to").value = labelOf(row, edits);
  // A dialog's "close" comes a task later than the click: what is asked for is done
  // with the click itself.
  dialog.querySelector("form").onsubmit = (event) => {
    if (event.submitter?.value === "ok") relabel(row, Number($("relabel-to").value));
  };
  dialog.onclose = () => document.querySelector(`[data-focus="r${row}"]`)?.focus();
  dialog.showModal();
}

function save() {
  const content = {remove: [...edits.removed].map((row) => rows[row].id),
    relabel: Object.fromEntries([...edits.relabeled]
      .map(([row, label]) => [rows[row].id, name(label)]))};
  const link = node("a", {download: "edits.json", href: URL.createObjectURL(
    new Blob([JSON.stringify(content, null, 2)], {type: "application/json"}))});
  link.click();
  URL.revokeObjectURL(link.href);
}

function useVoter() {
  const [value] = Object.values(data.voters[$("voter").value]);
  if (value !== undefined) $("hyper").value = value;
  drawAll();
}

// ---- Wiring --------------------------------------------------------------------
$("relabel-to").append(...data.classes.map((text, i) => node("option", {value: i}, text)),
  node("option", {value: -1}, "unlabeled (no vote)"));
$("voter").addEventListener("change", useVoter);
$("k").addEventListener("input", drawAll);
$("hyper").addEventListener("change", () => $("hyper").reportValidity() && drawAll());
$("threshold")?.addEventListener("change", () => $("threshold").reportValidity() && drawAll());
for (const radio of document.querySelectorAll("[name=pruning]"))
  radio.addEventListener("change", drawAll);
for (const radio of document.querySelectorAll("[name=set]"))
  radio.addEventListener("change", () => {
    state.set = radio.value;
    if (!shown().includes(state.current)) state.current = shown()[0];
    drawAll();
  });
$("previous").addEventListener("click", () => step(-1));
$("next").addEventListener("click", () => step(1));
$("reset").addEventListener("click", () => {
  edits.removed.clear(); edits.relabeled.clear(); drawAll();
});
$("save").addEventListener("click", save);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("relabel").open) return;
  if (event.target.closest("input, select, textarea")) return;
  const by = {ArrowRight: 1, j: 1, ArrowLeft: -1, k: -1}[event.key];
  if (by) { event.preventDefault(); step(by); }
});
$("app").hidden = false;
useVoter();
