// One case: the viewer, the verdict, and where it goes from there.
import { Hands } from "./hands.js";
import { listen, show } from "./keys.js";
import { post } from "./send.js";
import { Viewer } from "./viewer.js";

const STAY = "stay-after-verdict";
const at = (id) => document.getElementById(id);
const main = at("main"), state = at("state"), note = at("note"), advance = at("advance"), overlay = at("overlay");
const facts = JSON.parse(main.dataset.case);
const inQueue = main.dataset.queue === "1";
const viewer = new Viewer(at("viewer"), at("readout"));
let frame = facts.frames.indexOf(facts.id);
let changed = false;

async function shown(id) {
  state.textContent = "loading";
  const own = id === facts.id;
  Object.assign(viewer, { marks: own ? facts.marks : [], regions: own ? facts.regions : [], regionSize: facts.size });
  try {
    await viewer.load(id);
    state.textContent = own ? "" : "another frame of the file";
    if (!viewer.map) Object.assign(overlay, { disabled: true, checked: false });
  } catch (error) {
    state.textContent = error.message;
  }
  document.body.dataset.shown = id;
}

function stepFrame(step) {
  if (facts.frames.length < 2) return false;
  const wanted = Math.min(Math.max(frame + step, 0), facts.frames.length - 1);
  if (wanted !== frame) shown(facts.frames[frame = wanted]);
  return true;
}

async function written(work) {
  try {
    await work();
  } catch (error) {
    state.textContent = error.message;
    state.setAttribute("role", "alert");
  }
}

const judge = (kind) => written(async () => {
  const marks = facts.marks.map(({ x, y, width, height }) => ({ x, y, width, height }));
  await post(`/case/${facts.id}/verdict`, { kind, note: note.value, marks });
  changed = false;
  if (advance.checked) await next();
  else location.reload();
});

const next = () => written(async () => {
  if (!inQueue) return location.assign(at("behind")?.href ?? main.dataset.list);
  const { case: id } = await post("/next");
  location.assign(id === null ? main.dataset.list : `/case/${id}?queue=1`);
});

const undo = () => written(async () => {
  const { case: id } = await post("/undo");
  changed = false;
  if (id === null) state.textContent = "nothing to undo";
  else if (id === facts.id) location.reload();
  else location.assign(`/case/${id}${inQueue ? "?queue=1" : location.search}`);
});

function setTool(tool) {
  hands.tool = tool;
  for (const button of document.querySelectorAll("[data-tool]")) {
    button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
  }
}

function toggleMap() {
  if (overlay.disabled) return;
  viewer.showsMap = overlay.checked;
  viewer.draw();
}

function setOpacity(step = 0) {
  const slider = at("opacity");
  slider.value = Number(slider.value) + step;
  viewer.opacity = slider.value / 100;
  viewer.draw();
}

function erase() {
  if (facts.marks.length) changed = true;
  facts.marks.length = 0;
  viewer.draw();
}

const hands = new Hands(viewer, { wheelFrames: stepFrame, marked: () => { changed = true; } });
const actions = {
  auto: () => viewer.automatic(), invert: () => viewer.invert(), fit: () => viewer.fit(), erase, undo, next,
  help: () => show(keys, at("help")),
};
const keys = [
  ...[...document.querySelectorAll("[data-kind]")].map((button, number) => (
    { keys: [String(number + 1)], text: button.dataset.kind, run: () => judge(button.dataset.kind) })),
  { keys: ["n", "ArrowRight"], text: "next case", run: next },
  { keys: ["k", "ArrowLeft"], text: "previous case", run: () => at("before")?.click() },
  { keys: ["u"], text: "undo your last verdict", run: undo },
  { keys: ["e"], text: "write a note (Esc leaves it)", run: () => note.focus() },
  { keys: ["o"], text: "map on or off", run: () => overlay.click() },
  { keys: ["["], text: "map weaker", run: () => setOpacity(-10) },
  { keys: ["]"], text: "map stronger", run: () => setOpacity(10) },
  { keys: ["w"], text: "drag changes contrast: up and down level, left and right width", run: () => setTool("window") },
  { keys: ["m"], text: "drag moves the image (so does Shift or the right button)", run: () => setTool("pan") },
  { keys: ["b"], text: "draw a box", run: () => setTool("box") },
  { keys: ["p"], text: "set a point", run: () => setTool("point") },
  { keys: ["x"], text: "erase your marks", run: erase },
  { keys: [","], text: "darker", run: () => viewer.drag(0.02, 0) },
  { keys: ["."], text: "brighter", run: () => viewer.drag(-0.02, 0) },
  { keys: ["<"], text: "less contrast", run: () => viewer.drag(0, 0.05) },
  { keys: [">"], text: "more contrast", run: () => viewer.drag(0, -0.05) },
  { keys: ["a"], text: "contrast from the image", run: actions.auto },
  { keys: ["r"], text: "contrast as in the file", run: () => viewer.setWindow(viewer.image.low, viewer.image.high) },
  { keys: ["i"], text: "invert", run: actions.invert },
  { keys: ["+", "="], text: "zoom in", run: () => viewer.zoomBy(1.25) },
  { keys: ["-"], text: "zoom out", run: () => viewer.zoomBy(0.8) },
  { keys: ["f", "0"], text: "fit", run: actions.fit },
  { keys: ["ArrowUp"], text: "frame before", run: () => stepFrame(-1) },
  { keys: ["ArrowDown"], text: "frame behind", run: () => stepFrame(1) },
  { keys: ["Escape"], text: "back to the list", run: () => location.assign(main.dataset.list) },
];

for (const button of document.querySelectorAll("[data-kind]")) button.addEventListener("click", () => judge(button.dataset.kind));
for (const button of document.querySelectorAll("[data-tool]")) button.addEventListener("click", () => setTool(button.dataset.tool));
for (const button of document.querySelectorAll("[data-action]")) {
  button.addEventListener("click", () => actions[button.dataset.action]());
}
overlay.addEventListener("change", toggleMap);
at("opacity").addEventListener("input", () => setOpacity());
note.addEventListener("input", () => { changed = true; });
advance.checked = !localStorage.getItem(STAY);
advance.addEventListener("change", () => advance.checked ? localStorage.removeItem(STAY) : localStorage.setItem(STAY, "1"));
window.addEventListener("beforeunload", (event) => { if (changed) event.preventDefault(); });
listen(keys, at("help"));
shown(facts.id);
