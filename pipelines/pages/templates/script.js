"use strict";
const images = JSON.parse(document.getElementById("images").textContent);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// Tables: a click on a column's name sorts by it, another the other way round.
function valueOf(row, column) {
  const text = row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  const number = Number(text.replace(/,/g, ""));
  return text === "" || Number.isNaN(number) ? text : number;
}
function sortBy(header) {
  const table = header.closest("table");
  const column = header.cellIndex;
  const up = header.getAttribute("aria-sort") === "descending";
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [valueOf(row, column), row]);
  const compare = (one, other) =>
    typeof one === "number" && typeof other === "number"
      ? one - other
      : (typeof one === "number") - (typeof other === "number") || String(one).localeCompare(String(other));
  rows.sort(([one], [other]) => (up ? compare(one, other) : compare(other, one)));
  body.append(...rows.map(([, row]) => row));
  all("th", table.tHead).forEach((other) => other.removeAttribute("aria-sort"));
  header.setAttribute("aria-sort", up ? "ascending" : "descending");
}
all("table.sortable thead th button").forEach((button) =>
  button.addEventListener("click", () => sortBy(button.closest("th"))));

// Cells of a confusion, and frequent mistakes: a click shows their images.
function shot(row) {
  const [source, id] = images[row];
  const item = document.createElement("li");
  const picture = document.createElement("img");
  Object.assign(picture, { src: source, alt: id, title: id });
  item.append(picture);
  return item;
}
all("button[data-rows]").forEach((button) => button.addEventListener("click", () => {
  const panel = document.getElementById(button.dataset.panel);
  const rows = button.dataset.rows.split(" ").filter((row) => row in images);
  all(`button[data-panel="${button.dataset.panel}"]`).forEach((other) =>
    other.setAttribute("aria-pressed", String(other === button)));
  panel.querySelector("p").textContent = button.dataset.says;
  panel.querySelector("ul").replaceChildren(...rows.map(shot));
}));

// The map: where points lie, which class is seen, what a point is.
const map = document.getElementById("map-of-images");
if (map) {
  const points = JSON.parse(document.getElementById("points").textContent);
  const circles = all("circle", map);
  const tip = map.parentElement.querySelector(".tip");
  all("button[data-places]").forEach((button) => button.addEventListener("click", () => {
    points.places[button.dataset.places].forEach(([x, y], at) => {
      circles[at].setAttribute("cx", x);
      circles[at].setAttribute("cy", y);
    });
    all("button[data-places]").forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
  }));
  all("button[data-class]").forEach((button) => button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    all("button[data-class]").forEach((other) => other.setAttribute("aria-pressed", "false"));
    button.setAttribute("aria-pressed", String(on));
    circles.forEach((circle, at) =>
      circle.classList.toggle("dim", on && points.labels[at] !== Number(button.dataset.class)));
  }));
  map.addEventListener("pointermove", (event) => {
    const at = circles.indexOf(event.target);
    tip.hidden = at < 0;
    if (at < 0) return;
    const [source, id] = images[points.rows[at]] ?? ["", points.ids[at]];
    const label = points.names[points.labels[at]];
    const guess = points.names[points.predicted[at]];
    tip.replaceChildren();
    if (source) tip.append(Object.assign(document.createElement("img"), { src: source, alt: "" }));
    tip.append(`${id}: ${label}${guess === label ? "" : `, taken for ${guess}`}`);
    const box = map.parentElement.getBoundingClientRect();
    const left = event.clientX - box.left;
    tip.style.left = `${left > box.width / 2 ? left - tip.offsetWidth - 14 : left + 14}px`;
    tip.style.top = `${Math.max(0, event.clientY - box.top - 40)}px`;
  });
  map.addEventListener("pointerleave", () => { tip.hidden = true; });
}

// What is folded is printed, too.
let folded = [];
addEventListener("beforeprint", () => {
  folded = all("details:not([open])");
  folded.forEach((one) => { one.open = true; });
});
addEventListener("afterprint", () => folded.forEach((one) => { one.open = false; }));
