// Errors of predictions against the measured rows that ship.

import { get } from "./api.js";
import { by, draw, made, say, showProblem } from "./page.js";

const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)}%`;

async function start() {
  const { lines, chart } = await get("accuracy");
  by("lines").tBodies[0].replaceChildren(...lines.map((line) => made("tr", {},
    made("th", { scope: "row" }, line.table), made("td", {}, line.metric),
    made("td", { class: "right" }, line.n.toLocaleString("en")),
    made("td", { class: "right" }, percent(line.median)), made("td", { class: "right" }, percent(line.p90)))));
  const rows = lines.reduce((sum, line) => sum + line.n, 0);
  say(`${lines.length} tables and metrics, ${rows.toLocaleString("en")} comparisons.`);
  if (chart) await draw(by("chart"), chart, "Median error and what nine in ten keep, by table; the table below says the same.");
}

start().catch((error) => {
  if (!error.kind) throw error;
  showProblem(error);
});
