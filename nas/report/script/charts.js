// Charts by ECharts in the page's colours: drawn when they come into view, and again when the colours or widths change.

const SERIES_COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const DASHES = ["solid", "dashed", "dotted"];
const SYMBOLS = ["circle", "triangle", "rect", "diamond", "pin", "arrow"];
const charts = new Set();

// A chart in `host`; `option(theme)` gives ECharts's option, and is asked again after `redraw()`.
function makeChart(host, label, option, height = 300) {
  const box = make("div", { class: "chart", role: "img", "aria-label": label, style: `height:${height}px` });
  host.append(box);
  const one = {
    box,
    instance: null,
    draw() {
      if (!this.instance) this.instance = echarts.init(box, null, { renderer: "svg" });
      this.instance.setOption({ ...plain(), ...option(theme()) }, { notMerge: true });
    },
    redraw() {
      if (this.instance) this.draw();
    },
    on(event, told) {
      this.listeners = [...(this.listeners ?? []), [event, told]];
    },
    start() {
      if (this.instance) return;
      this.draw();
      for (const [event, told] of this.listeners ?? []) this.instance.on(event, told);
    },
  };
  charts.add(one);
  whenSeen(box, () => one.start());
  return one;
}

const waiting = new Map();
const seen = new IntersectionObserver(
  (entries) => {
    for (const entry of entries.filter((each) => each.isIntersecting)) {
      seen.unobserve(entry.target);
      waiting.get(entry.target)();
      waiting.delete(entry.target);
    }
  },
  { rootMargin: "300px" },
);

function whenSeen(element, start) {
  waiting.set(element, start);
  seen.observe(element);
}

// All that waits is drawn, as for paper.
function drawAll() {
  for (const start of waiting.values()) start();
  waiting.clear();
}

function resizeAll() {
  for (const { instance } of charts) instance?.resize();
}

window.addEventListener("resize", resizeAll);
window.addEventListener("beforeprint", () => (drawAll(), resizeAll()));
window.addEventListener("afterprint", resizeAll);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((each) => each.redraw()));
matchMedia("print").addEventListener("change", () => (charts.forEach((each) => each.redraw()), resizeAll()));

function theme() {
  return Object.fromEntries(
    ["ink", "muted", "line", "soft", "panel", "accent"].map((name) => [name, themeColour(name)]),
  );
}

function plain() {
  return {
    animation: false,
    textStyle: { fontFamily: getComputedStyle(document.body).fontFamily },
    grid: { left: 8, right: 18, top: 34, bottom: 8, containLabel: true },
  };
}

function axis(colours, name, more = {}) {
  return {
    name,
    nameLocation: "middle",
    nameGap: 28,
    nameTextStyle: { color: colours.muted, fontSize: 12 },
    axisLine: { show: true, lineStyle: { color: colours.line } },
    axisTick: { show: false },
    axisLabel: axisLabel(colours),
    splitLine: { lineStyle: { color: colours.soft } },
    ...more,
  };
}

// Sequential colours of charts: cividis.
const SCALE = ["#00224e", "#35456c", "#666970", "#948e77", "#c8b866", "#fee838"];

// The scale of a heat map's colours from 0 to the most there is, under it.
function colourBar(colours, most, text) {
  return {
    min: 0,
    max: most,
    calculable: false,
    orient: "horizontal",
    left: "center",
    bottom: 0,
    itemHeight: 150,
    itemWidth: 12,
    precision: 2,
    text: [text, "0"],
    textStyle: { color: colours.muted },
    inRange: { color: SCALE },
  };
}

function axisLabel(colours) {
  return {
    color: colours.muted,
    fontSize: 11,
    hideOverlap: true,
    formatter: (value) => number(value, Math.abs(value) < 1000 ? 3 : 6),
  };
}

// `student (4 cells ...)` as `student`, for legends and headings of columns.
function shortName(name) {
  const short = name.split(" (")[0];
  return name.endsWith(", re-ranked") && short !== name ? `${short}, re-ranked` : short;
}

function tooltip(colours, formatter, more = {}) {
  return {
    confine: true,
    backgroundColor: colours.panel,
    borderColor: colours.line,
    padding: 8,
    textStyle: { color: colours.ink, fontSize: 12 },
    formatter,
    ...more,
  };
}

function legend(colours, names) {
  return {
    show: names.length > 1,
    data: names,
    type: "scroll",
    top: 0,
    left: 0,
    icon: "roundRect",
    itemWidth: 16,
    itemHeight: 4,
    textStyle: { color: colours.ink, fontSize: 12 },
    pageTextStyle: { color: colours.muted },
  };
}

// The lines of a plot under the pointer, for ECharts's tooltip.
function lineTip(title, points) {
  return tipTable(
    title,
    points
      .filter((point) => point.value[1] !== null)
      .map((point) => [point.color, point.seriesName, number(point.value[1])]),
  );
}

// {label, x: {name, log, min, max, whole}, y: {name, min, max}, series: [{name, x, y, step, colour, reference}]}; a
// series without `x` has the plot's `x.values`. Null is a gap.
function linesView(host, plot) {
  const series = plot.series.map((each, place) => ({
    ...each,
    name: shortName(each.name),
    points: each.y.map((y, index) => [(each.x ?? plot.x.values)[index], y]),
    colour: each.colour ?? SERIES_COLOURS[place % SERIES_COLOURS.length],
    dash: plot.dashed || place >= SERIES_COLOURS.length ? DASHES[place % DASHES.length] : "solid",
  }));
  const option = (colours) => ({
    legend: legend(
      colours,
      series.map((each) => each.name),
    ),
    grid: { left: 8, right: 18, top: series.length > 1 ? 34 : 14, bottom: 24, containLabel: true },
    xAxis: axis(colours, plot.x.name, {
      type: plot.x.log ? "log" : "value",
      min: plot.x.min ?? "dataMin",
      max: plot.x.max ?? "dataMax",
      minInterval: plot.x.whole ? 1 : undefined,
      axisLabel: axisLabel(colours),
    }),
    yAxis: axis(colours, "", { type: "value", min: plot.y.min, max: plot.y.max, scale: true }),
    tooltip: tooltip(colours, (points) => lineTip(`${plot.x.name} ${number(points[0].value[0], 4)}`, points), {
      trigger: "axis",
      axisPointer: { type: "line", lineStyle: { color: colours.line } },
    }),
    series: series.map((each) => ({
      name: each.name,
      type: "line",
      data: each.points,
      step: each.step ? "end" : false,
      connectNulls: false,
      showSymbol: each.points.length <= 12,
      symbol: "circle",
      symbolSize: 6,
      emphasis: { disabled: true },
      lineStyle: { color: shade(each.colour), width: 2, type: each.dash },
      itemStyle: { color: shade(each.colour) },
    })),
  });
  if (plot.title) host.append(make("h4", {}, plot.title));
  makeChart(host, plot.label, option, plot.height ?? 280);
}

// {title, label, ...} of several plots, beside each other.
function panelsView(host, panels) {
  host.classList.add("panels");
  for (const panel of panels) {
    const place = make("div", { class: "panel" });
    host.append(place);
    linesView(place, panel);
  }
}
