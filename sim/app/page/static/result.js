// Shows a comparison: verdicts, figures with interval and basis on both sides, charts, the command and the YAML.

import { basis, by, draw, made } from "./page.js";

export class ResultView {
  constructor() {
    this.blocks = new Map();
    this.comparison = null;
    by("all-figures").addEventListener("change", () => this.comparison && this._figures(this.comparison));
  }

  show(comparison) {
    this.comparison = comparison;
    const { baseline, changed, problem } = comparison;
    by("result").hidden = false;
    by("result").classList.toggle("both", Boolean(changed || problem));
    verdict("baseline", baseline.result);
    if (changed) verdict("changed", changed.result);
    else by("changed-verdict").replaceChildren(problem ? made("span", { class: "bad" }, problem.message) : "Move a slider, or write a change.");
    this._notes(comparison);
    this._figures(comparison);
    this._charts(comparison);
    by("command").textContent = comparison.command;
    by("yaml").textContent = comparison.yaml;
    const made_of = baseline.result.provenance;
    const interval = made_of.interval ? ` Intervals: ${made_of.interval}.` : "";
    by("provenance").textContent =
      `${made_of.chip} under ${made_of.stack}, calibration ${made_of.calibration.id}, catalogue ${made_of.catalogue}.${interval}`;
  }

  // One line for narrow screens and for the title: the first figure, and how it moved.
  headline() {
    const first = this.comparison.effects.find((effect) => effect.key && effect.baseline && effect.baseline.value !== null);
    if (!first) return "";
    const before = `${first.label} ${first.baseline.text}`;
    return first.changed && first.delta !== "same" ? `${before} → ${first.changed.text} (${first.delta})` : before;
  }

  _notes({ baseline, changed, moves_nothing: still }) {
    const notes = [];
    const warned = new Set([...baseline.result.warnings, ...(changed ? changed.result.warnings : [])]);
    for (const text of warned) notes.push(made("p", { class: "warning" }, made("span", {}, text)));
    for (const text of still) {
      notes.push(made("p", { class: "warning" }, made("span", {}, made("code", {}, text), " moves no figure: nothing here waits for it.")));
    }
    by("notes").replaceChildren(...notes);
  }

  _figures({ effects, changed }) {
    const all = by("all-figures").checked;
    const rows = effects.filter((effect) => all || effect.key).map((effect) => {
      const best = effect.changed || effect.baseline;
      return made("tr", {},
        made("th", { scope: "row" }, effect.label),
        figure(effect.baseline, "baseline"),
        changed ? figure(effect.changed, "what if", " other", effect.baseline) : null,
        changed ? made("td", { class: "right other delta" + (effect.delta === "same" ? " quiet" : ""), "data-head": "change" }, effect.delta) : null,
        made("td", { "data-head": "basis" }, best ? basis(best.basis, best.note) : ""));
    });
    by("figures").tBodies[0].replaceChildren(...rows);
  }

  _charts({ baseline, changed, chart }) {
    const moved = { id: "moved", title: "What moved", lede: "Change of each figure against the baseline.", notes: [], panels: [{ title: "Change", chart }] };
    const before = [...(chart ? [moved] : []), ...baseline.sections];
    showSections(by("charts"), this.blocks, before, changed ? changed.sections : null);
  }
}

// Puts sections of charts into a place, both sides beside each other. blocks: what stands there already, by section; those that
// are there still are only redrawn, so that nothing jumps.
export function showSections(place, blocks, baseline, changed) {
  const wanted = new Set(baseline.map((section) => section.id));
  for (const [id, block] of blocks) {
    if (wanted.has(id)) continue;
    block.remove();
    blocks.delete(id);
  }
  baseline.forEach((section, order) => {
    if (!blocks.has(section.id)) blocks.set(section.id, made("section", { class: "chart-block" }, made("h2"), made("p", { class: "lede" }), made("div", { class: "sides" }), made("p", { class: "note" })));
    const block = blocks.get(section.id);
    if (place.children[order] !== block) place.insertBefore(block, place.children[order] ?? null);
    const other = changed && changed.find((each) => each.id === section.id);
    showSection(block, section, other || null);
  });
}

function showSection(block, section, other) {
  block.querySelector("h2").textContent = section.title;
  block.querySelector(".lede").textContent = section.lede;
  block.querySelector(".note").textContent = section.notes.join(" ");
  block.classList.toggle("two", Boolean(other) || section.panels.length > 1);
  const panels = section.panels.flatMap((panel) => {
    const twin = other && other.panels.find((each) => each.title === panel.title);
    if (!other) return [[panel, panel.title]];
    return [[panel, `${panel.title}, baseline`], twin ? [twin, `${panel.title}, what if`] : [null, ""]];
  });
  const places = block.querySelector(".sides");
  while (places.children.length > panels.length) places.lastElementChild.remove();
  while (places.children.length < panels.length) places.append(made("div", {}, made("h3"), made("div", { class: "chart" })));
  panels.forEach(([panel, title], order) => {
    const cell = places.children[order];
    cell.hidden = !panel;
    if (!panel) return;
    cell.querySelector("h3").textContent = title;
    cell.querySelector("h3").hidden = panels.length === 1;
    draw(cell.querySelector(".chart"), panel.chart, `${title}. The figures stand in the table above.`);
  });
}

function verdict(side, result) {
  const why = result.why ? made("span", { class: "why" }, result.why) : null;
  by(side + "-verdict").replaceChildren(made("span", { class: result.fits ? "" : "bad" }, result.verdict), why ? made("br") : "", why || "");
}

// A figure's cell; a note that stands beside it already is not said again.
function figure(shown, head, more = "", before = null) {
  const cell = made("td", { class: "right" + more, "data-head": head });
  if (!shown) return cell;
  if (shown.value === null) cell.append(made("span", { class: "quiet unknown", title: shown.note }, "unknown"), before && before.note === shown.note ? "" : made("small", {}, shown.note));
  else cell.append(made("span", {}, shown.text), made("small", {}, shown.interval));
  return cell;
}
