// What the server is asked, and small helpers for the page. Names of files,
// classes and metadata come from strangers: they only ever become text.

async function answered(response) {
  let found = null;
  try { found = await response.json(); } catch { /* Not JSON: a refusal. */ }
  if (!response.ok || found === null) {
    throw new Error(found?.error ?? (response.status === 403
      ? "This page is no longer known to the server: open its address again."
      : `The server answered ${response.status}.`));
  }
  return found;
}

async function reach(address, options) {
  try {
    return await fetch(address, options);
  } catch {
    throw new Error("The server does not answer: is `visual-memory serve` still running?");
  }
}

export async function get(what) {
  return answered(await reach(`api/${what}`));
}

export async function post(what, values = {}) {
  return answered(await reach(`api/${what}`, {
    method: "POST",
    headers: {"content-type": "application/json", "x-visual-memory": "1"},
    body: JSON.stringify(values),
  }));
}

export async function upload(file, settings) {
  const query = new URLSearchParams({name: file.name ?? "picture", ...settings});
  return answered(await reach(`api/ask?${query}`, {
    method: "POST", headers: {"x-visual-memory": "1"}, body: file,
  }));
}

export const pictureOf = (id, generation, large = false) =>
  `api/picture?id=${encodeURIComponent(id)}&at=${generation}${large ? "&large" : ""}`;

export const $ = (id) => document.getElementById(id);

export function node(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// A row's thumbnail; rows without a picture get a tile with their class.
export function thumbnail(id, name, generation) {
  const box = node("span", {class: "picture"});
  const image = node("img", {alt: `${id}, ${name ?? "no class"}`,
    src: pictureOf(id, generation)});
  image.addEventListener("load", () => {
    if (Math.max(image.naturalWidth, image.naturalHeight) <= 96) image.classList.add("tiny");
  });
  image.addEventListener("error", () => {
    image.replaceWith(node("span", {class: "blank", role: "img", "aria-label": id},
      (name ?? "?").slice(0, 12)));
  });
  box.append(image);
  return box;
}

export const percent = (x) => `${(100 * x).toFixed(1)}\u00a0%`;
export const counted = (n, what) =>
  `${n.toLocaleString("en-US")} ${n === 1 ? what : what + (what.endsWith("s") ? "es" : "s")}`;

export function say(text, problem = false) {
  const said = $("said");
  said.textContent = text;
  said.hidden = !text;
  said.classList.toggle("problem", problem);
}

export function attempt(work) {
  return async (...given) => {
    try { return await work(...given); } catch (error) { say(error.message, true); }
  };
}

// Asks in a dialog; a class name, or true, or null if it was cancelled.
export function question(text, {field = false, ok = "OK", names = []} = {}) {
  const dialog = $("question");
  $("question-text").textContent = text;
  $("question-field").hidden = !field;
  $("question-ok").textContent = ok;
  $("question-value").value = "";
  $("class-names").replaceChildren(...names.map((name) => node("option", {value: name})));
  dialog.returnValue = "cancel";
  dialog.showModal();
  if (field) $("question-value").focus();
  return new Promise((done) => dialog.addEventListener("close", () => {
    const value = $("question-value").value.trim();
    done(dialog.returnValue !== "ok" ? null : field ? value || null : true);
  }, {once: true}));
}
