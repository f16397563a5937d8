
"use strict";
const find = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(2)} %`;
let asked = new AbortController();

function say(text, kind = "") {
  find("status").textContent = text;
  find("status").className = kind;
}

function made(tag, text = "", className = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  element.className = className;
  return element;
}

function row({ class: name, probability }) {
  const line = made("tr");
  const heading = made("th", name);
  heading.scope = "row";
  const bar = made("div");
  bar.style.width = `${100 * probability}%`;
  const cell = made("td", "", "bar");
  cell.append(bar);
  line.append(heading, made("td", percent(probability), "number"), cell);
  return line;
}

function neighbour({ id, picture }) {
  const figure = made("figure");
  if (picture) {
    const image = made("img");
    image.src = picture;
    image.alt = "";
    figure.append(image);
  }
  const caption = made("figcaption");
  for (const part of id.split(/(?<=\/)/)) caption.append(part, made("wbr"));
  figure.append(caption);
  const item = made("li");
  item.append(figure);
  return item;
}

function verdict({ unknown, strangeness }) {
  if (unknown === undefined) return "";
  const figure = strangeness.toFixed(2);
  return unknown
    ? `Unknown: strangeness ${figure}. Above 1 an image is unlike all that it learned.`
    : `Strangeness ${figure}: like images that it learned. Above 1 it would be unknown.`;
}

function show(name, said) {
  find("class").textContent = said.class;
  find("name").textContent = name;
  find("verdict").textContent = verdict(said);
  find("verdict").classList.toggle("unknown", said.unknown === true);
  find("picture").src = said.picture;
  find("why").hidden = !said.evidence;
  if (said.evidence) {
    find("evidence").src = said.evidence;
    find("evidence").alt = `The same, bright and red where it speaks for ${said.class}`;
    find("why").lastElementChild.textContent = `What speaks for ${said.class}: bright and red`;
  }
  find("classes").replaceChildren(...said.top.map(row));
  find("near").hidden = !said.nearest.length;
  find("nearest").replaceChildren(...said.nearest.map(neighbour));
  find("result").hidden = false;
  // What is heard; whoever sees has it below.
  const doubt = said.unknown ? ", but unknown" : "";
  say(`${name}: ${said.class}, ${percent(said.probability)}${doubt}`, "heard");
}

async function classify(file) {
  const limit = Number(find("drop").dataset.limit);
  const name = file.name || "pasted image";
  asked.abort();
  asked = new AbortController();
  const { signal } = asked;
  find("result").hidden = true;
  if (file.size > limit) {
    say(`${name} has more than ${limit / 2 ** 20} MiB`, "error");
    return;
  }
  say(`Looking at ${name} ...`);
  try {
    const response = await fetch("/classify", { method: "POST", body: file, signal });
    const said = await response.json();
    if (signal.aborted) return;
    if (response.ok) show(name, said);
    else say(`${name}: ${said.error}`, "error");
  } catch {
    if (!signal.aborted) say("No answer: transfer serve has ended, or is busy", "error");
  }
}

function given(transfer) {
  const [file] = transfer.files;
  if (file) classify(file);
  else say("Expected an image file, received something else", "error");
}

find("image").addEventListener("change", (event) => {
  if (event.target.files.length) given(event.target);
});
find("drop").addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  find("drop").classList.add("over");
});
document.addEventListener("dragleave", () => find("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  find("drop").classList.remove("over");
  find("drop").reset(); // else the file that was chosen before would seem to be meant
  given(event.dataTransfer);
});
document.addEventListener("paste", (event) => {
  if (!event.clipboardData.files.length) return;
  find("drop").reset();
  given(event.clipboardData);
});
