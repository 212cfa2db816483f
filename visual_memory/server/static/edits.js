// The edits that wait: undone one by one, or applied; then what came of them.
import {$, attempt, counted, node, percent, post, question, say} from "./api.js";
import {classNames, memory, onChange, refresh, take} from "./state.js";

function inWords(edit) {
  const ids = (edit.ids ?? []).slice(0, 3).join(", ") + (edit.ids?.length > 3 ? ", …" : "");
  return {
    relabel: () => `Relabel ${counted(edit.ids.length, "row")} to ${edit.to}: ${ids}`,
    remove: () => `Remove ${counted(edit.ids.length, "row")} for good: ${ids}`,
    rename: () => `Rename the class ${edit.old} to ${edit.to}`,
    merge: () => `Merge ${edit.names.join(", ")} into ${edit.to}`,
  }[edit.kind]();
}

function draw() {
  $("pending").replaceChildren(...memory.pending.map((edit) => node("li", {},
    node("span", {}, inWords(edit)),
    node("button", {type: "button", "aria-label": `Undo: ${inWords(edit)}`,
      onclick: attempt(async () => {
        await post("undo", {number: edit.number});
        await refresh();
      })}, "Undo"))));
  $("no-edits").hidden = memory.pending.length > 0;
  $("apply").disabled = !memory.pending.length;
  const before = $("old-class").value;
  $("old-class").replaceChildren(...classNames().map((name) => node("option", {value: name}, name)));
  if (before in memory.classes) $("old-class").value = before;
}

const apply = attempt(async () => {
  const removed = memory.pending.filter((edit) => edit.kind === "remove")
    .reduce((sum, edit) => sum + edit.ids.length, 0);
  if (removed > memory.num_rows / 2 && !await question(
    `This removes ${counted(removed, "row")} of ${memory.num_rows.toLocaleString("en-US")} for good.`,
    {ok: "Remove them"})) return;
  $("apply").disabled = true;
  $("outcome").replaceChildren(node("p", {class: "empty"}, "Applying…"));
  const found = await post("apply", {measure: $("measure").checked});
  take(found);
  const lines = found.outcomes.map((edit) => node("li", {}, `${inWords(edit)}. Done.`
    + (edit.gone.length ? ` ${counted(edit.gone.length, "row")} had been removed before.` : ""),
    edit.receipt ? node("a", {class: "receipt", download: `receipt-${edit.receipt.generation}.json`,
      href: URL.createObjectURL(new Blob([JSON.stringify(edit.receipt, null, 2)],
        {type: "application/json"}))}, "Save the receipt") : null));
  $("outcome").replaceChildren(node("ul", {}, ...lines), node("p", {id: "effect"}, effect(found)));
  if (found.problem) say(`${found.problem} The edits behind it wait.`, true);
  else say(`${counted(found.outcomes.length, "edit")} applied.`);
});

function effect({before, after}) {
  if (!before || !after) return "";
  const points = 100 * (after.accuracy - before.accuracy);
  const change = Math.abs(points) < 0.05 ? "is as good as it was"
    : `is ${Math.abs(points).toFixed(1)} points ${points > 0 ? "better" : "worse"} than it was`;
  const asked = after.rows < after.held
    ? `, asked of ${counted(after.rows, "row")}` : "";
  return `The memory ${change}: each row classified by the others, `
    + `${percent(before.accuracy)} before and ${percent(after.accuracy)} now${asked}.`;
}

export function begin() {
  $("apply").addEventListener("click", apply);
  $("rename").addEventListener("click", attempt(async () => {
    const old = $("old-class").value, to = $("new-class").value.trim();
    if (!old || !to) { say("Choose a class, and write its new name.", true); return; }
    await post("pending", to in memory.classes
      ? {kind: "merge", names: [old], to} : {kind: "rename", old, to});
    $("new-class").value = "";
    await refresh();
  }));
  $("add-form").addEventListener("submit", (event) => {
    event.preventDefault();
    add();
  });
  onChange(draw);
}

const add = attempt(async () => {
  $("add").disabled = true;
  say("Adding: every picture is looked at and embedded…");
  try {
    const found = await post("add", {path: $("add-path").value, class: $("add-class").value.trim()});
    take(found);
    $("outcome").replaceChildren(node("ul", {},
      node("li", {}, `Added ${counted(found.added, "picture")}; ${found.already_there} were there already.`),
      ...found.remarks.map((text) => node("li", {}, text))));
    say(`${counted(found.added, "picture")} added.`);
  } finally {
    $("add").disabled = false;
  }
});
