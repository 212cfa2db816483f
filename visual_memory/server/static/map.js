// The map: every row a dot. Plotted pixel by pixel, so that a hundred thousand
// dots follow the pointer; what is under it is found by a grid of cells.
import {$, attempt, counted, node, post, say, thumbnail} from "./api.js";
import {openRow, showAmong} from "./browse.js";
import {asked, memory, onChange} from "./state.js";

const CELLS = 256, REACH = 10;
let points = null, view = {x: 0, y: 0, scale: 1}, cells = null, colors = null;
let image = null, lasso = null, drag = null, hovered = -1, frame = 0, generation = -1, timer = 0;

// Twelve hues that stay apart in light and dark; then they repeat.
const HUES = [211, 28, 130, 350, 275, 48, 185, 320, 95, 245, 10, 160];
const hue = (label) => label < 0 ? null : HUES[label % HUES.length];
const shade = (label) => 46 + 12 * (Math.floor(label / HUES.length) % 3);

function rgb(h, s, l) {  // Degrees and percent to a little-endian pixel.
  const a = s * Math.min(l, 100 - l) / 10000;
  const part = (n) => {
    const k = (n + h / 30) % 12;
    return Math.round(255 * (l / 100 - a * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return (255 << 24 | part(4) << 16 | part(8) << 8 | part(0)) >>> 0;
}

const colorOf = (label) => label < 0 ? rgb(0, 0, 55) : rgb(hue(label), 70, shade(label));

const RIGHT = rgb(210, 12, 62), WRONG = rgb(8, 78, 52), NONE = rgb(0, 0, 55);
// From far to near: gray, then ever more orange.
const RAMP = Array.from({length: 101}, (_, i) => rgb(30, 0.95 * i, 66 - 0.16 * i));

const paint = attempt(async () => {
  const by = $("color").value, count = points.labels.length;
  let found = null;
  colors = new Uint32Array(count);
  if (by === "similarity" && asked.question) found = await post("near", {question: asked.question});
  if (by !== $("color").value) return;  // Chosen anew meanwhile.
  if (by === "similarity" && found?.similarities.length !== count) found = null;
  points.last = null;
  if (by === "class") for (let i = 0; i < count; i++) colors[i] = colorOf(points.labels[i]);
  else if (by === "error") {
    points.last = [];
    for (let i = 0; i < count; i++) {
      const label = points.labels[i], said = points.predicted[i];
      const wrong = label >= 0 && said !== label;
      colors[i] = label < 0 ? NONE : wrong ? WRONG : RIGHT;
      if (wrong) points.last.push(i);
    }
  } else {
    // The top tenth of the range holds what matters: the ramp is steep there.
    for (let i = 0; i < count; i++) {
      colors[i] = found ? RAMP[Math.round((found.similarities[i] / 1000) ** 3 * 100)] : NONE;
    }
    if (found) {
      points.last = [...found.similarities.keys()].sort((i, j) =>
        found.similarities[i] - found.similarities[j]).slice(-Math.ceil(count / 10));
    }
  }
  drawLegend(by, found);
  plot();
});

const css = (pixel) => `rgb(${pixel & 255} ${pixel >> 8 & 255} ${pixel >> 16 & 255})`;

function drawLegend(by, found) {
  const item = (color, text) => {
    const key = node("i");
    key.style.background = color;
    return node("li", {}, key, text);
  };
  const wrong = points.last?.length ?? 0, labelled = points.labels.filter((label) => label >= 0).length;
  $("legend").replaceChildren(...{
    class: () => points.class_names.map((name, label) => ({name, label, count: memory.classes[name] ?? 0}))
      .filter((one) => one.count).sort((one, other) => other.count - one.count).slice(0, 24)
      .map(({name, label, count}) => item(css(colorOf(label)), `${name} ${count.toLocaleString("en-US")}`)),
    error: () => [item(css(WRONG), `${counted(wrong, "row")} that the others would call something else`),
      item(css(RIGHT), `${counted(labelled - wrong, "row")} that they would call the same`)],
    similarity: () => found ? [item(css(RAMP[100]), `${found.high.toFixed(3)}: nearest to ${asked.about}`),
      item(css(RAMP[0]), `${found.low.toFixed(3)}: farthest`)]
      : [node("li", {class: "note"}, "Ask about a picture first: then every row has a similarity to it.")],
  }[by]());
}

function fit() {
  const canvas = $("canvas"), box = $("canvas-box").getBoundingClientRect();
  if (!box.width) return;
  const ratio = Math.min(2, devicePixelRatio || 1);
  canvas.width = Math.round(box.width * ratio);
  canvas.height = Math.round(box.height * ratio);
  if (points) {
    const high = points.y.length ? Math.max(...extremes(points.y)) : 1;
    const wide = points.x.length ? Math.max(...extremes(points.x)) : 1;
    view.scale = 0.92 * Math.min(canvas.width / Math.max(wide, 1), canvas.height / Math.max(high, 1));
    view.x = (canvas.width - wide * view.scale) / 2;
    view.y = (canvas.height - high * view.scale) / 2;
  }
  plot();
}

function extremes(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) { if (value < low) low = value; if (value > high) high = value; }
  return [low, high];
}

const plot = () => { cancelAnimationFrame(frame); frame = requestAnimationFrame(draw); };

function draw() {
  const canvas = $("canvas"), context = canvas.getContext("2d");
  if (!canvas.width) return;
  const {width, height} = canvas;
  if (!points) { context.clearRect(0, 0, width, height); return; }
  if (image?.width !== width || image.height !== height) {
    image = context.createImageData(width, height);
  }
  const pixels = new Uint32Array(image.data.buffer).fill(0);
  const count = points.x.length;
  const radius = Math.max(1, Math.min(7, Math.round(
    Math.sqrt(width * height / Math.max(count, 1)) / 9 * Math.sqrt(view.scale * points.grid / width))));
  const shape = disc(radius, width);
  for (let i = 0; i < count; i++) dot(pixels, width, height, i, shape);
  // What is to be seen is not hidden by what is drawn after it.
  for (const i of points.last ?? []) dot(pixels, width, height, i, shape);
  if (hovered >= 0) dot(pixels, width, height, hovered, disc(radius + 3, width));
  context.putImageData(image, 0, 0);
  if (lasso?.length > 1) {
    context.beginPath();
    lasso.forEach(([x, y], i) => i ? context.lineTo(x, y) : context.moveTo(x, y));
    context.closePath();
    context.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--accent");
    context.lineWidth = 2;
    context.stroke();
  }
}

// The pixels of a dot around its middle, as steps in an image of this width.
function disc(radius, width) {
  const steps = [];
  for (let y = -radius; y <= radius; y++) {
    for (let x = -radius; x <= radius; x++) {
      if (x * x + y * y < radius * radius + radius) steps.push(y * width + x);
    }
  }
  return {radius, steps: Int32Array.from(steps)};
}

// Dots that the edge would cut are left out: they are a few pixels wide.
function dot(pixels, width, height, i, {radius, steps}) {
  const cx = Math.round(points.x[i] * view.scale + view.x);
  const cy = Math.round(points.y[i] * view.scale + view.y);
  if (cx < radius || cy < radius || cx >= width - radius || cy >= height - radius) return;
  const middle = cy * width + cx, color = colors[i];
  for (let s = 0; s < steps.length; s++) pixels[middle + steps[s]] = color;
}

function index() {
  cells = new Map();
  const size = points.grid / CELLS;
  for (let i = 0; i < points.x.length; i++) {
    const cell = Math.floor(points.y[i] / size) * (CELLS + 1) + Math.floor(points.x[i] / size);
    if (!cells.has(cell)) cells.set(cell, []);
    cells.get(cell).push(i);
  }
}

function nearest(px, py) {
  const x = (px - view.x) / view.scale, y = (py - view.y) / view.scale;
  const reach = REACH * (devicePixelRatio || 1) / view.scale, size = points.grid / CELLS;
  let best = -1, least = reach * reach;
  for (let r = Math.floor((y - reach) / size); r <= Math.floor((y + reach) / size); r++) {
    for (let c = Math.floor((x - reach) / size); c <= Math.floor((x + reach) / size); c++) {
      for (const i of cells.get(r * (CELLS + 1) + c) ?? []) {
        const far = (points.x[i] - x) ** 2 + (points.y[i] - y) ** 2;
        if (far < least) { least = far; best = i; }
      }
    }
  }
  return best;
}

function at(event) {
  const canvas = $("canvas"), box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) * canvas.width / box.width,
    (event.clientY - box.top) * canvas.height / box.height];
}

const recordsAt = async (positions) => (await post("at", {generation, positions})).rows;

const hover = attempt(async (i, event) => {
  hovered = i;
  plot();
  const box = $("hover");
  if (i < 0) { box.hidden = true; return; }
  const [row] = await recordsAt([points.positions[i]]);
  if (hovered !== i || !row) return;
  box.replaceChildren(thumbnail(row.id, row.class, memory.generation),
    node("b", {}, row.class ?? "no class"), node("span", {class: "id"}, row.id));
  const outer = $("canvas-box").getBoundingClientRect();
  const left = event.clientX - outer.left, top = event.clientY - outer.top;
  box.style.left = `${Math.min(left + 14, outer.width - 150)}px`;
  box.style.top = `${Math.min(top + 14, outer.height - 170)}px`;
  box.hidden = false;
});

const choose = attempt(async (corners) => {
  const inside = (x, y) => {
    let odd = false;
    for (let i = 0, j = corners.length - 1; i < corners.length; j = i++) {
      const [ax, ay] = corners[i], [bx, by] = corners[j];
      if ((ay > y) !== (by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax) odd = !odd;
    }
    return odd;
  };
  const positions = [];
  for (let i = 0; i < points.x.length; i++) {
    if (inside(points.x[i] * view.scale + view.x, points.y[i] * view.scale + view.y)) {
      positions.push(points.positions[i]);
    }
  }
  if (!positions.length) { say("No row lies inside the lasso."); return; }
  const rows = await recordsAt(positions);
  showAmong(rows.map((row) => row.id), `${counted(rows.length, "row")} from the map`);
});

function zoom(px, py, factor) {
  view.x = px - (px - view.x) * factor;
  view.y = py - (py - view.y) * factor;
  view.scale *= factor;
  plot();
}

export const shown = attempt(async (anew = false) => {
  clearTimeout(timer);
  const found = await post("map", {anew});
  $("redraw").hidden = true;
  if (found.error) { $("map-note").textContent = found.error; return; }
  if (found.x === undefined) {
    $("map-note").textContent = `Drawing the map: ${Math.round(100 * found.done)} %`;
    timer = setTimeout(() => { if (!$("map").hidden) shown(); }, 400);
    return;
  }
  const first = points === null;
  points = {...found, x: Float32Array.from(found.x), y: Float32Array.from(found.y)};
  generation = found.generation;
  $("map-note").textContent = found.complete ? counted(found.x.length, "row")
    : `${counted(found.x.length, "row")}; rows that are new are not drawn yet`;
  $("redraw").hidden = found.complete;
  index();
  if (first) fit();
  await paint();
});

export function begin() {
  const canvas = $("canvas");
  new ResizeObserver(fit).observe($("canvas-box"));
  $("color").addEventListener("change", () => points && paint());
  $("redraw").addEventListener("click", () => shown(true));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    if (points) zoom(...at(event), Math.exp(-event.deltaY / 400));
  }, {passive: false});
  canvas.addEventListener("pointerdown", (event) => {
    if (!points) return;
    canvas.setPointerCapture(event.pointerId);
    if (event.shiftKey) lasso = [at(event)];
    else drag = {from: at(event), x: view.x, y: view.y, moved: false};
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!points) return;
    const [x, y] = at(event);
    if (lasso) { lasso.push([x, y]); plot(); }
    else if (drag) {
      drag.moved ||= Math.hypot(x - drag.from[0], y - drag.from[1]) > 4;
      view.x = drag.x + x - drag.from[0];
      view.y = drag.y + y - drag.from[1];
      plot();
    } else {
      const i = nearest(x, y);
      if (i !== hovered) hover(i, event);
    }
  });
  canvas.addEventListener("pointerup", attempt(async (event) => {
    const corners = lasso, moved = drag?.moved;
    lasso = drag = null;
    plot();
    if (corners) { if (corners.length > 2) choose(corners); return; }
    const i = points && !moved ? nearest(...at(event)) : -1;
    if (i >= 0) openRow((await recordsAt([points.positions[i]]))[0]);
  }));
  canvas.addEventListener("pointerleave", () => { if (hovered >= 0) hover(-1); });
  canvas.addEventListener("keydown", (event) => {
    const step = 40, moves = {ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step]};
    if (!points) return;
    if (event.key in moves) { view.x += moves[event.key][0]; view.y += moves[event.key][1]; plot(); }
    else if (event.key === "+" || event.key === "-") zoom(canvas.width / 2, canvas.height / 2, event.key === "+" ? 1.25 : 0.8);
    else if (event.key === "0") fit();
    else return;
    event.preventDefault();
  });
  onChange(({moved}) => { if (moved && points && !$("map").hidden) shown(); });
}
