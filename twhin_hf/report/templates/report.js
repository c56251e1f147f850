"use strict";
// Colours are the page's (currentColor): light, dark and print need no other drawing.
const { config, charts } = JSON.parse(document.getElementById("report-data").textContent);
const options = {
  mode: "vega-lite", ast: true, actions: false, defaultStyle: false, config: { ...config, aria: false },
  tooltip: { disableDefaultStyle: true },
};

function postsOf(content) {
  return content.group.map((group, number) => ({
    number,
    x: content.x.map((places) => places[number]),
    y: content.y.map((places) => places[number]),
    group: content.groups[group],
    language: content.language[number],
    text: content.text ? content.text[number] : "",
  }));
}

const drawn = new Map();

async function draw(place, { spec, posts }) {
  const element = document.getElementById(place);
  if (!posts) return vegaEmbed(element, spec, { ...options, renderer: "svg" });
  const rows = postsOf(posts);
  const { view } = await vegaEmbed(
    element, { ...spec, datasets: { posts: rows } }, { ...options, renderer: "canvas" },
  );
  drawn.set(place, { element, view, rows, chosen: -1 });
}

function step(found, place, by) {
  found.chosen = (Math.max(found.chosen, by < 0 ? 0 : -1) + by + found.rows.length) % found.rows.length;
  const post = found.rows[found.chosen];
  document.getElementById(`${place}-post`).textContent = `${post.text} (${post.language})`;
  found.view.signal("chosen", found.chosen).run();
}

// Vega zooms at the pointer: here it is in the middle.
function zoom(found, by) {
  const canvas = found.element.querySelector("canvas"), box = canvas.getBoundingClientRect();
  const at = { clientX: box.left + box.width / 2, clientY: box.top + box.height / 2, bubbles: true };
  canvas.dispatchEvent(new PointerEvent("pointermove", at));
  canvas.dispatchEvent(by ? new WheelEvent("wheel", { ...at, deltaY: by }) : new MouseEvent("dblclick", at));
  canvas.dispatchEvent(new PointerEvent("pointerout", at));
}

for (const button of document.querySelectorAll("button[data-of]")) {
  button.addEventListener("click", () => {
    const place = button.dataset.of, found = drawn.get(place);
    if (!found) return;
    if (button.dataset.step) step(found, place, Number(button.dataset.step));
    else zoom(found, Number(button.dataset.zoom));
  });
}

(async () => {
  for (const [place, chart] of Object.entries(charts)) await draw(place, chart);
  document.documentElement.dataset.drawn = String(Object.keys(charts).length);
})();
