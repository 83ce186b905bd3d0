// What every page shares: elements by id, making elements, the theme, charts once plotly.js has come.

export const by = (id) => document.getElementById(id);

// made("p", {class: "note"}, "text", child): attributes that are false or null are left out.
export function made(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const drawing = new Promise((resolve) => {
  const script = by("plotly");
  if (window.Plotly) resolve();
  else script.addEventListener("load", () => resolve());
});

// Draws a chart of the API; one that is overtaken by a later one for the same element is not drawn.
export async function draw(element, chart, words) {
  element.wanted = chart;
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", words);
  await drawing;
  if (element.wanted !== chart || !element.isConnected) return;
  const room = chart.layout && chart.layout.height;
  if (room) element.style.minHeight = room + "px";
  await Gambrel.draw(element, chart);
}

export function showProblem(problem) {
  const place = by("problem");
  place.hidden = !problem;
  place.textContent = problem ? problem.message : "";
}

export function say(words) {
  const place = by("status");
  if (place.textContent !== words) place.textContent = words;
}

export function basis(name, note) {
  return made("span", { class: "basis " + name, title: note || null }, name);
}

export function delay(milliseconds, call) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...given), milliseconds);
  };
}

const SCALES = [["E", 1e18], ["P", 1e15], ["T", 1e12], ["G", 1e9], ["M", 1e6], ["k", 1e3]];
const SHORT = { bytes: "B", bytes_per_s: "B/s", flops_per_s: "FLOP/s", w: "W", hz: "Hz", exp_per_s: "exp/s" };

// A hardware value as people read it.
export function amount(value, unit) {
  const digits = (number) => Number(number.toPrecision(3)).toLocaleString("en");
  if (unit === "s") {
    const [name, factor] = value >= 1 ? ["s", 1] : value >= 1e-3 ? ["ms", 1e-3] : value >= 1e-6 ? ["µs", 1e-6] : ["ns", 1e-9];
    return digits(value / factor) + " " + name;
  }
  if (!(unit in SHORT)) return digits(value) + (unit ? " " + unit : "");
  const [letter, factor] = SCALES.find(([, each]) => Math.abs(value) >= each) || ["", 1];
  return digits(value / factor) + " " + letter + SHORT[unit];
}

Gambrel.start();
