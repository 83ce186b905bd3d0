// Forms out of the API's description of each field, and their values as a scenario and as the page's address.

import { by, made } from "./page.js";

const MAIN = {
  train: ["model", "cluster", "devices", "global-batch", "tp", "pp", "sharding", "recompute", "seq-len", "tokens"],
  serve: ["model", "cluster", "tp", "replicas", "rate", "requests", "input-tokens", "output-tokens", "ttft", "tpot"],
};
const WIDE = ["model", "cluster"];
const FIRST = {
  train: { model: "llama-3.1-70b", cluster: "dgx-h100", devices: "512", "global-batch": "512", tp: "8", pp: "4", "seq-len": "4096", tokens: "1e12" },
  serve: { model: "llama-3.1-70b", cluster: "hgx-h200", tp: "4", rate: "3", requests: "300", "input-tokens": "1000", "output-tokens": "200", ttft: "1", tpot: "0.05" },
};

export class Fields {
  constructor(form, changed) {
    this.verb = form.verb;
    this.fields = new Map(form.fields.map((field) => [field.name, field]));
    this.inputs = new Map();
    this._place(changed);
  }

  _place(changed) {
    const main = MAIN[this.verb];
    for (const name of main) by("main-fields").append(this._made(this.fields.get(name), changed));
    const panels = new Map();
    for (const [name, field] of this.fields) {
      if (main.includes(name)) continue;
      if (!panels.has(field.panel)) panels.set(field.panel, []);
      panels.get(field.panel).push(field);
    }
    for (const [panel, fields] of panels) {
      const title = panel === "The question" ? "More of the question" : panel;
      const count = made("span", { class: "count" });
      const inside = made("div", { class: "grid" }, ...fields.map((field) => this._made(field, changed)));
      const details = made("details", { class: "panel" }, made("summary", {}, title, count), inside);
      details.fields = fields.map((field) => field.name);
      by("more-fields").append(details);
    }
  }

  _made(field, changed) {
    const id = "field-" + field.name;
    const input = this._input(field, id);
    input.addEventListener("input", () => changed(field.name, input.tagName === "SELECT"));
    this.inputs.set(field.name, input);
    const unit = field.unit ? made("span", { class: "unit" }, field.unit) : null;
    const wide = WIDE.includes(field.name) ? " wide" : "";
    const bounds = limits(field);
    const help = made("p", { class: "help", id: id + "-help" }, field.help.replaceAll("null:", "empty:") + bounds);
    return made("div", { class: "field" + wide }, made("label", { for: id }, field.label, unit), input, help);
  }

  _input(field, id) {
    const about = { id, name: field.name, "aria-describedby": id + "-help" };
    const usual = field.default === null || field.default === undefined ? "" : shown(field.default);
    if (field.kind === "switch" || field.kind === "choice") {
      const options = field.kind === "switch" ? [["true", "on"], ["false", "off"]] : field.choices.map((each) => [each, each]);
      const empty = made("option", { value: "" }, usual ? usual + " (default)" : "not set");
      return made("select", about, empty, ...options.map(([value, words]) => made("option", { value }, words)));
    }
    const number = (field.kind === "number" || field.kind === "integer") && !field.choices.length;
    return made("input", {
      ...about, type: number ? "number" : "text", placeholder: usual, required: field.required, spellcheck: "false",
      step: number ? (field.kind === "integer" ? "1" : "any") : null,
      min: number ? field.minimum ?? field.above : null, max: number ? field.maximum : null,
      list: field.suggestions ? "list-" + field.suggestions : null,
    });
  }

  value(name) {
    return this.inputs.get(name).value.trim();
  }

  // Fills the form from the address, or with a first question.
  fill(parameters) {
    const given = [...this.fields.keys()].some((name) => parameters.has(name));
    for (const [name, input] of this.inputs) {
      const value = given ? parameters.get(name) ?? "" : FIRST[this.verb][name] ?? "";
      if (input.tagName === "SELECT" && value && ![...input.options].some((option) => option.value === value)) {
        input.append(made("option", { value }, value));
      }
      input.value = value;
    }
    this.count();
  }

  // Fills the form from a scenario of the catalogue; what equals the default stays empty.
  take(scenario) {
    const parameters = new URLSearchParams();
    for (const [name, field] of this.fields) {
      const value = field.path.reduce((holder, step) => (holder === null || holder === undefined ? holder : holder[step]), scenario);
      const usual = JSON.stringify(value) === JSON.stringify(field.default);
      if (value !== null && value !== undefined && !usual) parameters.set(name, shown(value));
    }
    this.fill(parameters);
  }

  // Says on each panel how many of its values are set, and opens those with any the first time.
  count() {
    for (const details of by("more-fields").children) {
      const set = details.fields.filter((name) => this.value(name) !== "").length;
      details.querySelector(".count").textContent = set ? ` · ${set} set` : "";
    }
  }

  write(parameters) {
    for (const name of this.inputs.keys()) if (this.value(name)) parameters.set(name, this.value(name));
  }

  // The scenario: only what is set.
  scenario() {
    const kind = this.verb === "train" ? "tokens" : "traffic";
    const scenario = { groups: [{ role: this.verb }], demand: { kind } };
    for (const [name, field] of this.fields) {
      const text = this.value(name);
      if (text !== "") put(scenario, field.path, read(field, text));
    }
    return scenario;
  }

  // Marks the field that an answer is about, or none.
  mark(name) {
    for (const [each, input] of this.inputs) {
      if (each === name) {
        input.setAttribute("aria-invalid", "true");
        const details = input.closest("details");
        if (details) details.open = true;
      } else input.removeAttribute("aria-invalid");
    }
  }
}

function limits(field) {
  const words = [];
  if (field.above !== null) words.push("more than " + field.above);
  if (field.minimum !== null) words.push("at least " + field.minimum);
  if (field.maximum !== null) words.push("at most " + field.maximum);
  return (words.length ? ` (${words.join(", ")})` : "") + `  --${field.name}`;
}

function shown(value) {
  if (Array.isArray(value)) return value.join(",");
  if (value === true) return "on";
  if (value === false) return "off";
  return typeof value === "number" && value >= 1e7 ? value.toExponential().replace("e+", "e") : String(value);
}

function read(field, text) {
  if (field.kind === "switch") return text === "true" || text === "on";
  if (field.kind === "list") {
    return text.split(",").map((part) => part.trim()).filter(Boolean).map((part) => (isNaN(part) ? part : Number(part)));
  }
  if (field.kind !== "number" && field.kind !== "integer") return text;
  return field.choices.includes(text) || isNaN(text) ? text : Number(text);
}

function put(holder, path, value) {
  path.slice(0, -1).forEach((step, place) => {
    holder[step] ??= typeof path[place + 1] === "number" ? [] : {};
    holder = holder[step];
  });
  holder[path.at(-1)] = value;
}
