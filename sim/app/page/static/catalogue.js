// The catalogue: lists by kind, and one entry with its values, sources and file.

import { get } from "./api.js";
import { by, delay, made, say, showProblem } from "./page.js";

const KINDS = { chip: "Chips", model: "Models", cluster: "Clusters", stack: "Stacks", scenario: "Scenarios" };
let listing = null;
let order = { key: null, down: false };

function parameters() {
  return new URLSearchParams(location.search);
}

function remember(changes) {
  const now = parameters();
  for (const [name, value] of Object.entries(changes)) {
    if (value) now.set(name, value);
    else now.delete(name);
  }
  history.replaceState(null, "", "/catalogue?" + now);
}

function shown() {
  const words = by("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const text = (entry) => [entry.id, ...Object.values(entry.cells)].join(" ").toLowerCase();
  const found = listing.entries.filter((entry) => words.every((word) => text(entry).includes(word)));
  if (!order.key) return found;
  const value = (entry) => entry.sort[order.key] ?? entry.cells[order.key] ?? entry.id;
  const sign = order.down ? -1 : 1;
  return found.sort((a, b) => {
    const [one, other] = [value(a), value(b)];
    if (typeof one !== typeof other) return typeof one === "number" ? -1 : 1;
    return sign * (typeof one === "number" ? one - other : one.localeCompare(other));
  });
}

function head(key, words) {
  const now = order.key === key ? (order.down ? "descending" : "ascending") : null;
  const button = made("button", { type: "button", class: "sort" }, words, made("span", { "aria-hidden": "true" }, now ? (order.down ? " ↓" : " ↑") : ""));
  button.addEventListener("click", () => {
    order = { key, down: order.key === key ? !order.down : listing.numeric.includes(key) };
    show();
    by("entries").tHead.querySelector(`[data-key="${key}"] button`).focus();
  });
  return made("th", { scope: "col", "aria-sort": now, "data-key": key, class: listing.numeric.includes(key) ? "right" : null }, button);
}

function show() {
  const heads = Object.entries(listing.columns);
  by("entries").tHead.replaceChildren(made("tr", {}, head("id", "id"), ...heads.map(([key, words]) => head(key, words))));
  const found = shown();
  by("entries").tBodies[0].replaceChildren(...found.map((entry) => {
    const link = made("a", { href: `/catalogue?kind=${listing.kind}&id=${encodeURIComponent(entry.id)}` }, entry.id);
    link.addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey) return;
      event.preventDefault();
      openCard(entry.id, true);
    });
    const cells = heads.map(([key]) => made("td", { class: listing.numeric.includes(key) ? "right" : null }, entry.cells[key] ?? ""));
    return made("tr", {}, made("th", { scope: "row" }, link), ...cells);
  }));
  say(`${found.length} of ${listing.entries.length} ${KINDS[listing.kind].toLowerCase()}`);
}

async function openKind(kind) {
  listing = await get("catalogue/" + kind);
  order = { key: null, down: false };
  for (const button of by("kinds").children) button.setAttribute("aria-pressed", String(button.dataset.kind === kind));
  by("card").hidden = true;
  show();
}

async function openCard(id, focus) {
  const card = await get(`catalogue/${listing.kind}/${encodeURIComponent(id)}`);
  remember({ kind: listing.kind, id });
  by("card").hidden = false;
  by("card-head").textContent = card.name;
  by("card-note").textContent = `${card.kind} ${card.id}, from: ${card.origin}`;
  by("card-values").tBodies[0].replaceChildren(...card.values.map(row));
  by("card-sources").tBodies[0].replaceChildren(...card.sources.map(row));
  by("card-yaml").textContent = card.yaml;
  by("card-links").replaceChildren(...links(card));
  if (focus) by("card").focus({ preventScroll: false });
}

function row({ key, text }) {
  return made("tr", {}, made("th", { scope: "row" }, key), made("td", { class: "wrap" }, text));
}

// Questions that begin with this entry.
function links({ kind, id }) {
  const name = { chip: "cluster", cluster: "cluster", model: "model" }[kind];
  if (!name) return [];
  const others = { cluster: "&model=llama-3.1-8b", model: "&cluster=dgx-h100" }[name];
  const train = `/train?${name}=${encodeURIComponent(id)}${others}&devices=8`;
  const serve = `/serve?${name}=${encodeURIComponent(id)}${others}&rate=1&requests=100&input-tokens=500&output-tokens=100`;
  return [made("a", { href: train }, "Train with it"), " · ", made("a", { href: serve }, "Serve with it")];
}

async function start() {
  for (const [kind, words] of Object.entries(KINDS)) {
    const button = made("button", { type: "button", "data-kind": kind, "aria-pressed": "false" }, words);
    button.addEventListener("click", () => {
      remember({ kind, id: null });
      openKind(kind).catch(failed);
    });
    by("kinds").append(button);
  }
  const now = parameters();
  by("filter").value = now.get("filter") ?? "";
  by("filter").addEventListener("input", delay(100, () => {
    remember({ filter: by("filter").value });
    show();
  }));
  by("close").addEventListener("click", () => {
    by("card").hidden = true;
    remember({ id: null });
    by("filter").focus();
  });
  await openKind(now.get("kind") in KINDS ? now.get("kind") : "chip");
  if (now.get("id")) await openCard(now.get("id"), false);
}

function failed(error) {
  if (!error.kind) throw error;
  showProblem(error);
}

start().catch(failed);
