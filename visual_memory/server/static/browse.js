// Browsing: filters, the grid, what is chosen, and one row looked at.
import {$, attempt, counted, node, pictureOf, post, question, say, thumbnail} from "./api.js";
import {Grid} from "./grid.js";
import {asked, classNames, memory, onChange, onState, refresh} from "./state.js";

let among = null, grid, wait;

export function wantRemoved(ids) {
  return attempt(async () => {
    await post("pending", {kind: "remove", ids});
    await refresh();
    say(`${counted(ids.length, "row")} will be removed once you apply the edits.`);
  })();
}

export function wantRelabelled(ids) {
  return attempt(async () => {
    const to = await question(`Which class should ${counted(ids.length, "row")} have?`,
      {field: true, ok: "Relabel", names: classNames()});
    if (!to) return;
    await post("pending", {kind: "relabel", ids, to});
    await refresh();
    say(`${counted(ids.length, "row")} will be ${to} once you apply the edits.`);
  })();
}

export function showAmong(ids, why) {
  among = {ids, why};
  document.dispatchEvent(new CustomEvent("view", {detail: "browse"}));
  search();
}

function filter() {
  const [key, ...value] = $("field").value.split("=");
  const name = $("class").value;
  return {
    classes: name === "" ? [] : [name === "\u0000" ? null : name],
    text: $("text").value.trim(),
    fields: key.trim() && value.length ? [[key.trim(), value.join("=").trim()]] : [],
    newest_first: $("newest").checked,
    among: among?.ids ?? null,
  };
}

const NOTHING = {suspects: "No row's neighbors disagree with its class.",
  duplicates: "No row is nearly the same as another.", outliers: "There are too few rows."};

const look = attempt(async () => {
  const kind = $("doubt").value;
  if (!kind) { among = null; return search(); }
  say("Asking every row of the others…");
  const {ids} = await post("doubtful", {kind});
  say(ids.length ? "" : NOTHING[kind]);
  if (!ids.length) { $("doubt").value = ""; return; }
  among = {ids, why: counted(ids.length, kind.slice(0, -1))};
  await search();
});

const lookFor = attempt(async () => {
  const text = $("words").value.trim();
  if (!text) { among = null; return search(); }
  say("Looking for pictures that these words describe…");
  const {rows, question} = await post("words", {text});
  say("");
  Object.assign(asked, {question, about: `“${text}”`});
  among = {ids: rows.map((row) => row.id), why: `${counted(rows.length, "row")} like “${text}”`};
  await search();
});

const search = attempt(async () => {
  const note = $("among");
  note.hidden = !among;
  note.replaceChildren(...(among ? [node("span", {class: "chip"}, among.why,
    node("button", {type: "button", "aria-label": "Show all rows again",
      onclick: () => { among = null; $("doubt").value = $("words").value = ""; search(); }}, "×"))] : []));
  await grid.show(filter());
});

export const openRow = attempt(async (row) => {
  const body = $("row-body"), dialog = $("row");
  const image = node("img", {src: pictureOf(row.id, memory.generation, true), alt: `The picture of ${row.id}`});
  image.addEventListener("error", () => image.replaceWith(
    node("p", {class: "empty"}, "There is no picture of this row (any more).")));
  image.addEventListener("load", () => {
    if (image.naturalWidth <= 96) image.classList.add("tiny");
  });
  const places = row.metadata?.picture?.places;  // What the commands record of a file.
  const told = Object.entries(row.metadata ?? {}).map(([key, value]) =>
    key === "picture" && Array.isArray(places) ? ["file", places.map((at) => at[1]).join(", ")] : [key, value]);
  const facts = told.map(([key, value]) => node("tr", {},
    node("th", {scope: "row"}, key),
    node("td", {}, typeof value === "string" ? value : JSON.stringify(value))));
  const like = node("div", {class: "strip"});
  body.replaceChildren(
    node("div", {class: "bar"}, node("h2", {}, row.class ?? "no class"),
      node("button", {type: "button", autofocus: true, "aria-label": "Close", onclick: () => dialog.close()}, "×")),
    node("p", {class: "id"}, row.id), image,
    node("div", {class: "bar"},
      node("button", {type: "button", onclick: () => { dialog.close(); wantRelabelled([row.id]); }}, "Relabel…"),
      node("button", {type: "button", onclick: () => { dialog.close(); wantRemoved([row.id]); }}, "Remove"),
      node("button", {type: "button", onclick: attempt(async () => {
        const found = await post("similar", {id: row.id});
        dialog.close();
        showAmong([row.id, ...found.rows.map((other) => other.id)], `like ${row.id}`);
      })}, "More like this")),
    node("h3", {}, "Nearest rows"), like,
    facts.length ? node("table", {}, ...facts) : null);
  if (!dialog.open) dialog.showModal();
  const found = await post("similar", {id: row.id});
  like.replaceChildren(...found.rows.slice(0, 6).map((other) => node("button",
    {type: "button", title: other.id, onclick: () => openRow(other)},
    thumbnail(other.id, other.class, memory.generation),
    node("span", {class: other.class === row.class ? "agrees" : "differs"}, other.class ?? "no class"),
    node("span", {class: "note"}, other.similarity.toFixed(3)))));
});

function drawClasses() {
  const before = $("class").value;
  $("class").replaceChildren(node("option", {value: ""}, "all"),
    ...classNames().map((name) => node("option", {value: name},
      `${name} (${memory.classes[name].toLocaleString("en-US")})`)),
    ...(memory.unlabelled ? [node("option", {value: "\u0000"}, `no class (${memory.unlabelled})`)] : []));
  $("class").value = before in memory.classes || before === "\u0000" ? before : "";
}

export function begin() {
  grid = new Grid($("grid"), {
    onOpen: openRow,
    onChoose: (chosen) => {
      $("chosen").hidden = !chosen.size;
      $("num-chosen").textContent = `${counted(chosen.size, "row")} chosen`;
    },
    onFound: (total) => {
      $("found").textContent = counted(total, "row");
      $("nothing").hidden = total > 0;
      $("grid").hidden = total === 0;
      $("nothing").textContent = memory.num_rows
        ? "No row is like that: change the filter."
        : "The memory is empty. Add pictures: visual-memory add FOLDER";
    },
  });
  $("doubt").addEventListener("change", look);
  $("words").addEventListener("change", lookFor);
  for (const id of ["class", "newest"]) $(id).addEventListener("change", search);
  for (const id of ["text", "field"]) {
    $(id).addEventListener("input", () => { clearTimeout(wait); wait = setTimeout(search, 200); });
  }
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  onState(() => { $("words-label").hidden = !memory.words; });
  $("clear-chosen").addEventListener("click", () => grid.clear());
  $("relabel-chosen").addEventListener("click", () => wantRelabelled([...grid.chosen.keys()]));
  $("remove-chosen").addEventListener("click", () => wantRemoved([...grid.chosen.keys()]));
  onChange(({moved}) => {
    if (!moved) return;
    drawClasses();
    grid.clear();
    search();
  });
}
