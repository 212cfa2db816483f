// Rows as a grid of thumbnails: only those in sight are in the page, so that a
// hundred thousand scroll like a hundred.
import {$, attempt, node, post, thumbnail} from "./api.js";
import {memory} from "./state.js";

const PAGE = 200, GAP = 8;
// Screens that are ready before they are in sight: at first few, so that nothing
// else waits for them, then a second of fast scrolling.
const FIRST = 1, AHEAD = 5, BEHIND = 0.5, SETTLED_MS = 1000;

export class Grid {
  constructor(box, {onOpen, onChoose, onFound}) {
    this.box = box;
    this.handlers = {onOpen, onChoose, onFound};
    this.filter = {};
    this.total = 0;
    this.pages = new Map();   // Page number -> rows, or a promise of them.
    this.tiles = new Map();   // Index -> element.
    this.chosen = new Map();  // Id -> class.
    this.cursor = 0;
    this.version = 0;
    this.ahead = FIRST;
    this.space = node("div", {class: "space"});
    box.append(this.space);
    box.addEventListener("scroll", () => this.draw(), {passive: true});
    box.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.measure()).observe(box);
  }

  async show(filter) {
    this.filter = filter;
    this.pages.clear();
    this.ahead = FIRST;
    clearTimeout(this.settled);
    this.settled = setTimeout(() => { this.ahead = AHEAD; this.draw(); }, SETTLED_MS);
    this.version += 1;
    const version = this.version;
    const found = await post("rows", {...filter, start: 0, count: PAGE});
    if (version !== this.version) return;
    this.pages.set(0, found.rows);
    this.total = found.total;
    this.cursor = Math.min(this.cursor, Math.max(0, this.total - 1));
    this.measure(true);
    this.handlers.onFound(found.total);
  }

  measure(anew = false) {
    const width = this.box.clientWidth;
    if (!width) return;
    const wanted = width < 500 ? 96 : width < 1600 ? 124 : 156;
    this.columns = Math.max(2, Math.floor((width + GAP) / (wanted + GAP)));
    const side = (width - GAP * (this.columns - 1)) / this.columns;
    this.space.style.height = `${Math.ceil(this.total / this.columns) * (side + 26 + GAP)}px`;
    if (anew || side !== this.side) for (const index of this.tiles.keys()) this.drop(index);
    this.side = side;
    this.height = side + 26 + GAP;
    this.draw();
  }

  draw() {
    if (!this.columns) return;
    const top = this.box.scrollTop, screen = this.box.clientHeight;
    const down = top >= (this.top ?? 0) || top < screen;  // There is nothing above.
    this.top = top;
    // What comes next is fetched before it is in sight.
    const [above, below] = down ? [BEHIND, this.ahead] : [this.ahead, BEHIND];
    const line = (y) => Math.max(0, Math.floor(y / this.height));
    const first = line(top - above * screen) * this.columns;
    const last = Math.min(this.total, (line(top + (1 + below) * screen) + 1) * this.columns);
    for (const index of this.tiles.keys()) if (index < first || index >= last) this.drop(index);
    const seen = line(top) * this.columns;
    // What is in sight first, then on in the direction of the eye.
    for (let index = seen; index < last; index++) this.want(index);
    for (let index = seen - 1; index >= first; index--) this.want(index);
  }

  want(index) {
    if (this.tiles.has(index)) return;
    const rows = this.page(Math.floor(index / PAGE));
    if (rows) this.place(index, rows[index % PAGE]);
  }

  drop(index) {
    const tile = this.tiles.get(index);
    tile.querySelector("img")?.removeAttribute("src");  // Nobody waits for it.
    tile.remove();
    this.tiles.delete(index);
  }

  page(number) {
    const known = this.pages.get(number);
    if (Array.isArray(known)) return known;
    if (!known) {
      const version = this.version;
      this.pages.set(number, post("rows",
        {...this.filter, start: number * PAGE, count: PAGE}).then((found) => {
        if (version !== this.version) return;
        this.pages.set(number, found.rows);
        this.draw();
      }).catch(() => this.pages.delete(number)));
    }
    return null;
  }

  place(index, row) {
    if (!row) return;
    const column = index % this.columns, line = Math.floor(index / this.columns);
    const tile = node("div", {class: "tile", role: "gridcell", title: row.id,
      "aria-selected": String(this.chosen.has(row.id)), "data-index": index},
      thumbnail(row.id, row.class, memory.generation),
      node("span", {class: "caption"}, row.class ?? "no class"),
      node("button", {type: "button", class: "pick", tabindex: -1,
        "aria-label": `Choose ${row.id}`,
        onclick: (event) => { event.stopPropagation(); this.toggle(index, event.shiftKey); }}, "✓"));
    tile.style.transform = `translate(${column * (this.side + GAP)}px, ${line * this.height}px)`;
    tile.style.width = `${this.side}px`;
    tile.addEventListener("click", (event) => {
      this.move(index);
      if (event.ctrlKey || event.metaKey || event.shiftKey) this.toggle(index, event.shiftKey);
      else this.handlers.onOpen(row);
    });
    if (index === this.cursor) tile.classList.add("cursor");
    this.tiles.set(index, tile);
    this.space.append(tile);
  }

  row(index) { return this.pages.get(Math.floor(index / PAGE))?.[index % PAGE]; }

  async toggle(index, range) {
    const from = range && this.anchor !== undefined ? this.anchor : index;
    // Rows that were scrolled past may not be here yet: none is left out.
    const pages = [];
    for (let n = Math.floor(Math.min(from, index) / PAGE); n <= Math.floor(Math.max(from, index) / PAGE); n++) {
      if (!this.page(n)) pages.push(this.pages.get(n));
    }
    if (pages.length) await Promise.all(pages);
    const on = range || !this.chosen.has(this.row(index)?.id);
    for (let i = Math.min(from, index); i <= Math.max(from, index); i++) {
      const row = this.row(i);
      if (!row) continue;
      if (on) this.chosen.set(row.id, row.class); else this.chosen.delete(row.id);
    }
    this.anchor = index;
    this.mark();
  }

  clear() { this.chosen.clear(); this.mark(); }

  mark() {
    for (const [index, tile] of this.tiles) {
      tile.setAttribute("aria-selected", String(this.chosen.has(this.row(index)?.id)));
    }
    this.handlers.onChoose(this.chosen);
  }

  move(index) {
    this.tiles.get(this.cursor)?.classList.remove("cursor");
    this.cursor = Math.max(0, Math.min(this.total - 1, index));
    const top = Math.floor(this.cursor / this.columns) * this.height;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    const bottom = top + this.height - this.box.clientHeight;
    if (bottom > this.box.scrollTop) this.box.scrollTop = bottom;
    this.draw();
    this.tiles.get(this.cursor)?.classList.add("cursor");
  }

  key(event) {
    const lines = Math.max(1, Math.floor(this.box.clientHeight / this.height));
    const steps = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns,
      ArrowDown: this.columns, PageUp: -lines * this.columns,
      PageDown: lines * this.columns, Home: -this.total, End: this.total};
    if (event.key in steps) this.move(this.cursor + steps[event.key]);
    else if (event.key === " ") this.toggle(this.cursor, event.shiftKey);
    else if (event.key === "Enter") { const row = this.row(this.cursor); if (row) this.handlers.onOpen(row); }
    else return;
    event.preventDefault();
  }
}
