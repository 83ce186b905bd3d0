// Shows a comparison: verdicts, figures with interval and basis on both sides, charts, the command and the YAML.

import { basis, by, draw, made } from "./page.js";

const TITLES = {
  time: ["Where the time goes", "Device seconds by part and phase."],
  memory: ["Memory of a device", "Of the fullest stage, by part."],
  ttft: ["Time to first token", "Share of the requests that wait at most so long."],
  tpot: ["Time per output token", "Share of the requests."],
  campaigns: ["Campaigns with failures", "One dot a campaign drawn."],
};

export class ResultView {
  constructor() {
    this.charts = new Map();
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
    const wanted = new Map();
    if (chart) wanted.set("moved", [chart]);
    for (const name of Object.keys(baseline.charts)) {
      wanted.set(name, [baseline.charts[name], changed ? changed.charts[name] : null]);
    }
    for (const [name, block] of this.charts) {
      if (!wanted.has(name)) {
        block.remove();
        this.charts.delete(name);
      }
    }
    for (const [name, sides] of wanted) this._chart(name, sides);
  }

  _chart(name, sides) {
    const [title, words] = name === "moved" ? ["What moved", "Change of each figure against the baseline."]
      : TITLES[name] || [name.replace(/^series /, ""), "Over time."];
    if (!this.charts.has(name)) {
      const block = made("section", { class: "chart-block" }, made("h2", {}, title), made("p", { class: "lede" }, words),
        made("div", { class: "sides" },
          made("div", {}, made("h3", {}, "baseline"), made("div", { class: "chart" })),
          made("div", {}, made("h3", {}, "what if"), made("div", { class: "chart" }))));
      this.charts.set(name, block);
      if (name === "moved") by("charts").prepend(block);
      else by("charts").append(block);
    }
    const block = this.charts.get(name);
    const places = block.querySelectorAll(".sides > div");
    const two = Boolean(sides[1]);
    block.classList.toggle("two", two);
    places.forEach((place, side) => {
      place.hidden = !sides[side];
      place.querySelector("h3").hidden = !two;
      if (sides[side]) draw(place.querySelector(".chart"), sides[side], `${title}, ${side ? "what if" : "baseline"}. The figures stand in the table.`);
    });
  }
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
