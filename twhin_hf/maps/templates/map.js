"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
const canvas = element("map"), pen = canvas.getContext("2d");
const count = data.language.length, side = 4095, margin = 24;
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
const lowered = data.texts && data.texts.map((text) => text.normalize("NFKC").toLowerCase());

const newest = data.layouts.length - 1;
let layout = newest, from = newest, coloring = 0, blend = 1; // `from` becomes `layout` as `blend` goes to 1
let view = { scale: 1, x: 0, y: 0 }; // of the map's middle, in parts of the smaller side
let hidden = new Set(), matches = null, hovered = -1, order = null, step = -1;
let size = { width: 0, height: 0 }, colours = [], waiting = false;

function make(tag, parent, properties = {}) {
  return parent.appendChild(Object.assign(document.createElement(tag), properties));
}

function languageName(code) {
  if (code === "und") return "unknown language";
  try {
    const name = new Intl.DisplayNames(["en"], { type: "language" }).of(code);
    return name === code ? code : `${name} (${code})`;
  } catch {
    return code;
  }
}

function className(number) {
  const found = data.colorings[coloring];
  const name = found.classes[number];
  const isRest = found.hasRest && number === found.classes.length - 1;
  return found.name === "language" && !isRest ? languageName(name) : name;
}

// Where things are

const between = (axis, post) =>
  data.layouts[from][axis][post] * (1 - blend) + data.layouts[layout][axis][post] * blend;
const base = () => Math.max(1, Math.min(size.width, size.height) - 2 * margin);

function place(post) {
  const unit = base() * view.scale;
  return [
    size.width / 2 + (between("x", post) / side - 0.5 - view.x) * unit,
    size.height / 2 + (between("y", post) / side - 0.5 - view.y) * unit,
  ];
}

const radius = () => Math.min(9, (count > 2000 ? 2.4 : 3.4) * Math.pow(view.scale, 0.4));
const isShown = (post) => !hidden.has(data.colorings[coloring].of[post]);
const isActive = (post) => isShown(post) && (!matches || matches.has(post));

function zoom(factor, x = size.width / 2, y = size.height / 2) {
  const scale = Math.min(200, Math.max(0.5, view.scale * factor));
  const change = (1 / view.scale - 1 / scale) / base();
  view = {
    scale,
    x: view.x + (x - size.width / 2) * change,
    y: view.y + (y - size.height / 2) * change,
  };
  moved();
}

function pan(right, down) {
  const unit = base() * view.scale;
  view.x -= right / unit;
  view.y -= down / unit;
  moved();
}

function moved() {
  order = null;
  if (hovered >= 0) show(hovered);
  draw();
}

// Drawing

function draw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    paint();
  });
}

function dots(posts, fill, alpha, extra = 0) {
  const r = radius() + extra;
  pen.globalAlpha = alpha;
  pen.fillStyle = fill;
  pen.beginPath();
  for (const post of posts) {
    const [x, y] = place(post);
    if (x < -r || y < -r || x > size.width + r || y > size.height + r) continue;
    pen.moveTo(x + r, y);
    pen.arc(x, y, r, 0, 2 * Math.PI);
  }
  pen.fill();
}

function paint() {
  const ratio = devicePixelRatio || 1;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, size.width, size.height);
  const found = data.colorings[coloring], groups = found.classes.map(() => []), faint = [];
  for (let post = 0; post < count; post++) {
    if (!isShown(post)) continue;
    (isActive(post) ? groups[found.of[post]] : faint).push(post);
  }
  dots(faint, colours.rest, 0.25);
  // The rest below, then the largest class first, so that none is covered whole.
  const last = groups.length - 1;
  if (found.hasRest) dots(groups[last], colours.rest, 0.7);
  const named = found.hasRest ? groups.slice(0, last) : groups;
  named.forEach((posts, number) => {
    if (matches) dots(posts, colours.ink, 1, 1.5);
    dots(posts, colours.classes[number], matches ? 1 : 0.8);
  });
  pen.globalAlpha = 1;
  if (hovered >= 0) {
    const [x, y] = place(hovered);
    pen.strokeStyle = colours.ink;
    pen.lineWidth = 2.5;
    pen.beginPath();
    pen.arc(x, y, radius() + 3.5, 0, 2 * Math.PI);
    pen.stroke();
  }
}

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const value = (name) => style.getPropertyValue(name).trim();
  colours = {
    ink: value("--ink"),
    rest: value("--rest"),
    classes: Array.from({ length: 8 }, (_, number) => value(`--c${number}`)),
  };
}

// A post

function nearest(x, y, most) {
  let best = -1, least = most * most;
  for (let post = 0; post < count; post++) {
    if (!isActive(post)) continue;
    const [left, top] = place(post);
    const distance = (left - x) ** 2 + (top - y) ** 2;
    if (distance < least) [best, least] = [post, distance];
  }
  return best;
}

function show(post) {
  hovered = post;
  const box = element("post");
  box.hidden = post < 0;
  if (post < 0) return draw();
  const people = data.people && data.people[post];
  const engaged = people === null || people === undefined ? [] : [`${people} ${people === 1 ? "person" : "people"}`];
  const named = className(data.colorings[coloring].of[post]);
  const language = languageName(data.languages[data.language[post]]);
  element("text").textContent = data.texts ? data.texts[post] : "";
  element("text").hidden = !data.texts;
  element("about").textContent = [...new Set([named, language, ...engaged])].join(" · ");
  const [x, y] = place(post), gap = 14;
  const left = x + gap + box.offsetWidth > size.width ? x - gap - box.offsetWidth : x + gap;
  const top = y + gap + box.offsetHeight > size.height ? y - gap - box.offsetHeight : y + gap;
  const inside = (value, length, all) => Math.max(4, Math.min(value, all - length - 4));
  box.style.transform = `translate(${inside(left, box.offsetWidth, size.width)}px, ${inside(top, box.offsetHeight, size.height)}px)`;
  draw();
}

function stepTo(direction) {
  if (!order) {
    const middle = [size.width / 2, size.height / 2];
    const distance = (post) => {
      const [x, y] = place(post);
      return (x - middle[0]) ** 2 + (y - middle[1]) ** 2;
    };
    order = Array.from({ length: count }, (_, post) => post).filter(isActive);
    const far = new Map(order.map((post) => [post, distance(post)]));
    order.sort((one, other) => far.get(one) - far.get(other));
    step = direction > 0 ? -1 : 0;
  }
  if (!order.length) return;
  step = (step + direction + order.length) % order.length;
  const kept = order, [x, y] = place(order[step]);
  if (x < 0 || y < 0 || x > size.width || y > size.height) pan(size.width / 2 - x, size.height / 2 - y);
  order = kept;
  show(order[step]);
}

// Controls

function choices(id, names, first, pick) {
  const box = element(id);
  if (!box) return;
  names.forEach((name, number) => {
    const label = make("label", box);
    const input = make("input", label, { type: "radio", name: id, checked: number === first });
    make("span", label, { textContent: name[0].toUpperCase() + name.slice(1) });
    input.addEventListener("change", () => pick(number));
  });
}

function setLayout(number) {
  from = layout;
  layout = number;
  order = null;
  show(-1);
  if (calm) return (blend = 1), draw();
  const start = performance.now();
  const frame = (now) => {
    const part = Math.min(1, Math.max(0, (now - start) / 900));
    blend = part * part * (3 - 2 * part);
    paint();
    if (part < 1 && layout === number) requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}

function setColoring(number) {
  coloring = number;
  hidden = new Set();
  show(-1);
  legend();
  refresh();
}

function legend() {
  const found = data.colorings[coloring], list = element("legend");
  list.replaceChildren();
  found.classes.forEach((_, number) => {
    const button = make("button", make("li", list), { type: "button" });
    const isRest = found.hasRest && number === found.classes.length - 1;
    make("i", button, { className: isRest ? "" : `c${number}` });
    make("span", button, { className: "name", dir: "auto", textContent: className(number) });
    make("span", button, { className: "count", textContent: found.counts[number].toLocaleString("en") });
    button.addEventListener("click", () => {
      hidden.has(number) ? hidden.delete(number) : hidden.add(number);
      refresh();
    });
    button.addEventListener("dblclick", () => {
      hidden = new Set(found.classes.keys());
      hidden.delete(number);
      refresh();
    });
  });
}

function refresh() {
  order = null;
  [...element("legend").querySelectorAll("button")].forEach((button, number) =>
    button.setAttribute("aria-pressed", String(!hidden.has(number))));
  if (hovered >= 0 && !isActive(hovered)) show(-1);
  if (matches) {
    let number = 0;
    for (const post of matches) if (isShown(post)) number++;
    element("found").textContent = `${number.toLocaleString("en")} ${number === 1 ? "post" : "posts"}`;
  } else element("found").textContent = "";
  draw();
}

function search(words) {
  const wanted = words.normalize("NFKC").toLowerCase().trim();
  matches = wanted ? new Set() : null;
  if (matches) lowered.forEach((text, post) => text.includes(wanted) && matches.add(post));
  refresh();
}

function setTheme(isDark) {
  document.documentElement.dataset.theme = isDark ? "dark" : "light";
  element("theme").setAttribute("aria-pressed", String(isDark));
  readColours();
  draw();
}

function resize() {
  const ratio = devicePixelRatio || 1, box = canvas.parentElement;
  size = { width: box.clientWidth, height: box.clientHeight };
  canvas.width = Math.round(size.width * ratio);
  canvas.height = Math.round(size.height * ratio);
  moved();
}

// Pointers: one moves or points, two zoom.

const pointers = new Map();
let travelled = 0;
const at = (event) => {
  const box = canvas.getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top };
};

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, at(event));
  travelled = 0;
});
canvas.addEventListener("pointermove", (event) => {
  const now = at(event), before = pointers.get(event.pointerId);
  if (!before) return show(nearest(now.x, now.y, radius() + 10));
  const others = [...pointers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
  pointers.set(event.pointerId, now);
  travelled += Math.hypot(now.x - before.x, now.y - before.y);
  if (others.length) {
    const apart = (point) => Math.max(1, Math.hypot(point.x - others[0].x, point.y - others[0].y));
    zoom(apart(now) / apart(before), (now.x + others[0].x) / 2, (now.y + others[0].y) / 2);
    pan((now.x - before.x) / 2, (now.y - before.y) / 2);
  } else if (travelled > 4) pan(now.x - before.x, now.y - before.y);
});
canvas.addEventListener("pointerup", (event) => {
  const now = at(event);
  if (travelled <= 4) show(nearest(now.x, now.y, radius() + 14));
});
for (const name of ["pointerup", "pointercancel"])
  canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
canvas.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && show(-1));
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const { x, y } = at(event);
  zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0018)), x, y);
}, { passive: false });
canvas.addEventListener("dblclick", (event) => zoom(2, at(event).x, at(event).y));
canvas.addEventListener("keydown", (event) => {
  const whole = () => { view = { scale: 1, x: 0, y: 0 }; moved(); };
  const does = {
    ArrowLeft: () => pan(60, 0), ArrowRight: () => pan(-60, 0),
    ArrowUp: () => pan(0, 60), ArrowDown: () => pan(0, -60),
    "+": () => zoom(1.4), "=": () => zoom(1.4), "-": () => zoom(1 / 1.4), 0: whole,
    n: () => stepTo(1), p: () => stepTo(-1), Escape: () => show(-1),
  }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!does || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  does();
});

element("closer").addEventListener("click", () => zoom(1.6));
element("farther").addEventListener("click", () => zoom(1 / 1.6));
element("whole").addEventListener("click", () => { view = { scale: 1, x: 0, y: 0 }; moved(); });
element("all").addEventListener("click", () => { hidden = new Set(); refresh(); });
element("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme !== "dark"));
const box = element("search");
if (box) {
  box.addEventListener("input", () => search(box.value));
  box.addEventListener("keydown", (event) => event.key === "Enter" && stepTo(event.shiftKey ? -1 : 1));
}
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
prefersDark.addEventListener("change", () => setTheme(prefersDark.matches));

choices("layouts", data.layouts.map((found) => found.name), newest, setLayout);
choices("colorings", data.colorings.map((found) => found.name), 0, setColoring);
setTheme(prefersDark.matches);
setColoring(0);
new ResizeObserver(resize).observe(canvas.parentElement);
resize();
