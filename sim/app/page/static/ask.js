// Train and serve: the form asks, the answer follows, the address holds all of it.

import { get, post, simulate } from "./api.js";
import { Fields } from "./fields.js";
import { by, delay, draw, made, say, showProblem } from "./page.js";
import { ResultView, showSections } from "./result.js";
import { Sliders } from "./sliders.js";

const verb = document.body.dataset.page;
const view = new ResultView();
let fields = null;
let asking = null;
const sliders = new Sliders(() => soon());
const soon = delay(60, ask);
const later = delay(350, ask);

function otherChanges() {
  return by("changes").value.split("\n").map((line) => line.trim()).filter(Boolean);
}

function question() {
  const own = by("model-yaml").value;
  return { scenario: fields.scenario(), changes: [...sliders.changes(), ...otherChanges()], model_yaml: own.trim() ? own : null };
}

function remember() {
  const parameters = new URLSearchParams();
  fields.write(parameters);
  for (const change of [...sliders.changes(), ...otherChanges()]) parameters.append("set", change);
  history.replaceState(null, "", `/${verb}?${parameters}`);
}

function isStep() {
  return verb === "train" && fields.value("faults") !== "true";
}

function busy(state) {
  by("answer").setAttribute("aria-busy", String(state));
  by("cancel").hidden = by("progress").hidden = !state || isStep();
}

function progressed({ share, what }) {
  by("progress").value = share;
  say(what ? `Simulating: ${what}` : "Simulating …");
}

async function ask() {
  if (asking) asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  fields.count();
  remember();
  busy(true);
  const begin = performance.now();
  const patience = setTimeout(() => say("Asking … (right after the start, compiled code is loaded; the very first time that takes a minute)"), 1500);
  try {
    const answer = await (isStep() ? post("steps", question(), signal) : simulate({ kind: "compare", ...question() }, progressed, signal));
    showProblem(null);
    fields.mark(null);
    view.show(answer);
    const took = Math.max(1, Math.round(performance.now() - begin));
    say(`Answered in ${took.toLocaleString("en")} ms. ${view.headline()}`);
    by("jump").textContent = view.headline() || "Answer";
    busy(false);
  } catch (error) {
    if (signal.aborted && asking.signal !== signal) return;
    busy(false);
    if (error.name === "AbortError") return say("Cancelled. Change anything to ask again.");
    showProblem(error);
    fields.mark(error.field);
    by("jump").textContent = "No answer: see why";
    say("No answer.");
  } finally {
    clearTimeout(patience);
  }
}

async function loadHardware() {
  const parameters = new URLSearchParams({ cluster: fields.value("cluster"), role: verb });
  if (fields.value("stack")) parameters.set("stack", fields.value("stack"));
  try {
    sliders.set(await get("hardware?" + parameters));
  } catch (error) {
    if (!error.kind) throw error;  // an unknown cluster: the answer says so
  }
}

const hardwareSoon = delay(350, loadHardware);

function changed(name, atOnce) {
  if (name === "cluster" || name === "stack") hardwareSoon();
  (atOnce ? soon : later)();
}

async function lists() {
  const kinds = { model: "model", cluster: "cluster", stack: "stack" };
  for (const [list, kind] of Object.entries(kinds)) {
    const found = await get("catalogue/" + kind);
    by("list-" + list).replaceChildren(...found.entries.map((entry) => made("option", { value: entry.id }, entry.cells.name || entry.cells.version || "")));
  }
  const chips = await get("catalogue/chip");
  by("list-cluster").append(...chips.entries.map((entry) => made("option", { value: entry.id }, entry.cells.name)));
  by("list-traffic").replaceChildren(...(await get("traffic")).map((name) => made("option", { value: name })));
  const scenarios = await get("catalogue/scenario");
  for (const entry of scenarios.entries) {
    if ((entry.cells.role === "train") === (verb === "train")) by("start").append(made("option", { value: entry.id }, entry.id));
  }
}

async function startFrom(event) {
  if (!event.target.value) return;
  const card = await get("catalogue/scenario/" + encodeURIComponent(event.target.value));
  if (card.record.groups.length > 1) return showProblem({ message: "This scenario has several groups; run it with gambrel serve." });
  fields.take(card.record);
  await loadHardware();
  await ask();
}

// A button that starts a simulation of its own and shows how far it is.
function onDemand(id, kind, show) {
  const button = by(id);
  const words = button.textContent;
  button.addEventListener("click", async () => {
    button.setAttribute("aria-disabled", "true");
    if (button.dataset.busy) return;
    button.dataset.busy = "yes";
    try {
      const told = ({ share }) => { button.textContent = `Working: ${Math.round(100 * share)}%`; };
      await show(await simulate({ kind, ...question() }, told, new AbortController().signal));
    } catch (error) {
      if (!error.kind) throw error;
      showProblem(error);
    } finally {
      delete button.dataset.busy;
      button.removeAttribute("aria-disabled");
      button.textContent = words;
    }
  });
}

async function showTornado(answer) {
  const first = answer.swings.slice(0, 3).map((each) => each.key).join(", ");
  if (answer.chart) await draw(by("tornado"), answer.chart, `What moves ${answer.label} most: ${first || "nothing"}`);
  by("still").textContent = answer.still.length ? `Moves nothing: ${answer.still.join(", ")}` : "";
}

const insideBlocks = new Map();

function showInside(answer) {
  showSections(by("inside-charts"), insideBlocks, answer.baseline, answer.changed);
}

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    say(`${what} copied.`);
  } catch (error) {
    if (error.name !== "NotAllowedError" && !(error instanceof TypeError)) throw error;
    say("The browser keeps the clipboard closed: the text stands at the end of the page.");
  }
}

function listen() {
  by("form").addEventListener("submit", (event) => event.preventDefault());
  by("start").addEventListener("change", startFrom);
  by("changes").addEventListener("input", later);
  by("model-yaml").addEventListener("input", later);
  onDemand("matters", "tornado", showTornado);
  onDemand("inside", "inside", showInside);
  by("cancel").addEventListener("click", () => asking && asking.abort());
  by("reset").addEventListener("click", () => {
    by("changes").value = "";
    sliders.reset();
    ask();
  });
  by("copy-command").addEventListener("click", () => copy(by("command").textContent, "Command"));
  by("copy-yaml").addEventListener("click", () => copy(by("yaml").textContent, "YAML"));
  by("copy-link").addEventListener("click", () => copy(location.href, "Link"));
  window.addEventListener("popstate", () => location.reload());
}

async function start() {
  fields = new Fields(await get("forms/" + verb), changed);
  const parameters = new URLSearchParams(location.search);
  fields.fill(parameters);
  by("changes").value = sliders.take(parameters.getAll("set")).join("\n");
  listen();
  await loadHardware();
  await Promise.all([ask(), lists()]);
}

start().catch((error) => {
  if (!error.kind) throw error;
  showProblem(error);
});
