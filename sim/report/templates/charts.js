// Charts that follow the theme: neutral colours come from the page's CSS variables, the others from the palette's dark column.
const Gambrel = (() => {
  const drawn = new Map();
  const root = document.documentElement;
  let printing = false;
  const config = { displayModeBar: false, responsive: true, doubleClick: "reset" };

  function isDark() {
    return getComputedStyle(root).colorScheme === "dark";
  }

  function variable(name) {
    return getComputedStyle(root).getPropertyValue("--" + name).trim();
  }

  function recoloured(value) {
    if (typeof value === "string") return GAMBREL_INKS[value] || value;
    if (Array.isArray(value)) return typeof value[0] === "number" ? value : value.map(recoloured);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, recoloured(each)]));
    }
    return value;
  }

  function copied(value) {
    if (Array.isArray(value)) return typeof value[0] === "number" ? value : value.map(copied);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, copied(each)]));
    }
    return value;
  }

  function template() {
    const line = variable("line"), quiet = variable("quiet"), text = variable("text");
    const axis = { gridcolor: line, linecolor: line, zerolinecolor: quiet, tickcolor: line,
                   tickfont: { color: quiet }, title: { font: { color: quiet } } };
    return { layout: { font: { color: text }, xaxis: axis, yaxis: axis,
                       hoverlabel: { bgcolor: variable("panel"), bordercolor: line, font: { color: text } },
                       legend: { font: { color: quiet } },
                       annotationdefaults: { font: { color: quiet }, arrowcolor: quiet } } };
  }

  function draw(element, chart) {
    drawn.set(element, chart);
    const shown = isDark() ? recoloured(chart) : copied(chart);
    const narrow = element.clientWidth > 0 && element.clientWidth < 420;
    if (narrow) shown.layout.font = { ...shown.layout.font, size: 11 };
    if (printing) Object.assign(shown.layout, { width: element.clientWidth, autosize: false });
    shown.layout.template = template();
    return Plotly.react(element, shown.data, shown.layout, config);
  }

  function redraw() {
    for (const [element, chart] of drawn) if (element.isConnected) draw(element, chart);
  }

  function setTheme(name) {
    if (name) root.dataset.theme = name;
    else delete root.dataset.theme;
    try {
      if (name) localStorage.setItem("gambrel-theme", name);
      else localStorage.removeItem("gambrel-theme");
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;  // storage is closed to some pages; the theme then lasts as long as they do
    }
    redraw();
  }

  function toggleTheme() {
    setTheme(isDark() ? "light" : "dark");
  }

  // paper is light and narrow: charts are drawn for it before it is laid out
  function print(now) {
    if (now === printing) return;
    printing = now;
    if (now) {
      root.dataset.before = root.dataset.theme || "";
      root.dataset.theme = "light";
    } else {
      root.dataset.theme = root.dataset.before;
      if (!root.dataset.theme) delete root.dataset.theme;
    }
    root.classList.toggle("printing", now);
    redraw();
  }

  function start() {
    let kept = null;
    try {
      kept = localStorage.getItem("gambrel-theme");
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
    }
    if (kept === "light" || kept === "dark") root.dataset.theme = kept;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    for (const button of document.querySelectorAll("[data-toggle-theme]")) button.addEventListener("click", toggleTheme);
    window.addEventListener("beforeprint", () => print(true));
    window.addEventListener("afterprint", () => print(false));
  }

  return { draw, redraw, setTheme, toggleTheme, isDark, start };
})();
