// What-if sliders: a factor for any hardware value, by the key path that `whatif --set` takes.

import { amount, by, made } from "./page.js";

const REACH = 3;  // a slider goes from an eighth to eight times
const STEP = 0.05;

export class Sliders {
  constructor(changed) {
    this.changed = changed;
    this.values = new Map();
    this.factors = new Map();
    by("add-value").addEventListener("change", (event) => {
      const key = event.target.value;
      if (!key) return;
      this.factors.set(key, 1);
      this.show();
      by("sliders").querySelector(`[data-key="${key}"] input`).focus();
    });
  }

  // The values of another cluster; factors of values that it lacks are dropped.
  set(hardware) {
    this.values = new Map(hardware.values.map((value) => [value.key, value]));
    for (const key of [...this.factors.keys()]) if (!this.values.has(key)) this.factors.delete(key);
    this.show();
  }

  // Takes what are factors of hardware values out of a list of changes; gives the rest back.
  take(changes) {
    this.factors.clear();
    return changes.filter((text) => {
      const match = /^((?:chip|cluster)\.[a-z0-9_.]+)\*=([0-9.e+-]+)$/.exec(text);
      if (!match || !(Number(match[2]) > 0)) return true;
      this.factors.set(match[1], Number(match[2]));
      return false;
    });
  }

  changes() {
    return [...this.factors].filter(([, factor]) => factor !== 1).map(([key, factor]) => `${key}*=${factor}`);
  }

  reset() {
    this.factors.clear();
    this.show();
  }

  show() {
    const shown = [...this.values.values()].filter((value) => value.usual || this.factors.has(value.key));
    const rows = new Map([...by("sliders").children].map((row) => [row.dataset.key, row]));
    for (const [key, row] of rows) if (!shown.some((value) => value.key === key)) row.remove();
    for (const value of shown) {
      if (!rows.has(value.key)) by("sliders").append(this._row(value));
      this._update(value);
    }
    const left = [...this.values.values()].filter((value) => !shown.includes(value));
    by("add-value").replaceChildren(
      made("option", { value: "" }, "choose …"),
      ...left.map((value) => made("option", { value: value.key }, `${value.label}, ${value.text}`)),
    );
  }

  _row(value) {
    const id = "slider-" + value.key.replaceAll(".", "-");
    const range = made("input", { type: "range", id, min: -REACH, max: REACH, step: STEP, "data-part": "range" });
    const factor = made("input", { type: "number", min: "0.001", step: "any", "aria-label": `factor of ${value.label}`, "data-part": "factor" });
    range.addEventListener("input", () => this._moved(value.key, rounded(2 ** Number(range.value)), true));
    factor.addEventListener("input", () => {
      if (Number(factor.value) > 0) this._moved(value.key, Number(factor.value), false);
    });
    return made("div", { class: "slider", "data-key": value.key },
      made("div", { class: "what" }, made("label", { for: id }), made("output", { for: id })), range, made("span", { class: "times" }, "×"), factor);
  }

  _moved(key, factor, write) {
    this.factors.set(key, factor);
    this._update(this.values.get(key), write ? "range" : "factor");
    this.changed();
  }

  // Shows a factor; `own` is the part that the user moves, which is left alone.
  _update(value, own) {
    const row = by("sliders").querySelector(`[data-key="${value.key}"]`);
    const factor = this.factors.get(value.key) ?? 1;
    const [range, number] = ["range", "factor"].map((part) => row.querySelector(`[data-part=${part}]`));
    row.querySelector("label").textContent = value.label;
    if (own !== "range") range.value = Math.log2(factor);
    if (own !== "factor") number.value = factor;
    const now = amount(value.value * factor, value.unit);
    row.querySelector("output").textContent = factor === 1 ? value.text : `${value.text} → ${now}`;
    range.setAttribute("aria-valuetext", `${factor} times, ${now}`);
    row.classList.toggle("moved", factor !== 1);
  }
}

function rounded(factor) {
  return Math.abs(factor - 1) < 0.02 ? 1 : Number(factor.toPrecision(3));
}
