// Networks by what they cost and how well they do; those that no other beats in both are filled and joined by a line.
// [{title, points: [{name, place, colour, cost, mAP, interval: [low, high] or [], front}]}]; without
// a colour, a network has that of its place.

function costsView(host, plots) {
  host.classList.add("panels");
  for (const plot of plots) {
    const panel = make("div", { class: "panel" }, make("h4", {}, `mAP (%) against ${plot.title}`));
    host.append(panel);
    makeChart(panel, `mAP (%) against ${plot.title}`, (colours) => costsOption(colours, plot), 320);
  }
}

const FAR = 20; // costs that differ by more are drawn by their logarithms

function costsOption(colours, { title, points }) {
  const costs = points.map(({ cost }) => cost);
  const [least, most] = [Math.min(...costs), Math.max(...costs)];
  const room = { type: "value", scale: true, boundaryGap: ["6%", "6%"] };
  const log = most > FAR * least;
  const onFront = points.filter(({ front }) => front).sort((a, b) => a.cost - b.cost);
  const words = ({ cost, mAP, interval, front }) => [
    ["", title, number(cost, 4)],
    ["", "mAP (%)", number(mAP, 4)],
    ...(interval.length ? [["", "95 % over identities", interval.map((end) => number(end, 4)).join(" to ")]] : []),
    ["", front ? "no other is cheaper and better" : "another is cheaper and better", ""],
  ];
  return {
    legend: {
      ...legend(
        colours,
        points.map(({ name, place }) => ({ name: shortName(name), icon: symbolOf(place) })),
      ),
      itemHeight: 10,
    },
    grid: { left: 8, right: 18, top: 34, bottom: 24, containLabel: true },
    xAxis: axis(colours, title, log ? { type: "log", min: least / 2, max: most * 2 } : room),
    yAxis: axis(colours, "", room),
    tooltip: tooltip(colours, ({ data }) => tipTable(data.of.name, words(data.of))),
    series: [
      {
        name: "front",
        type: "line",
        silent: true,
        symbol: "none",
        data: onFront.map(({ cost, mAP }) => [cost, mAP]),
        lineStyle: { color: colours.muted, width: 1 },
      },
      ...points.flatMap((of) => costSeries(colours, of)),
    ],
  };
}

const symbolOf = (place) => SYMBOLS[place % SYMBOLS.length];

function costSeries(colours, of) {
  const { cost, mAP, interval, place, front } = of;
  const colour = shade(of.colour ?? SERIES_COLOURS[place % SERIES_COLOURS.length]);
  const name = shortName(of.name);
  const bar = {
    name,
    type: "line",
    silent: true,
    symbol: "none",
    data: interval.map((end) => [cost, end]),
    lineStyle: { color: colour, width: 1.2 },
    itemStyle: { color: colour },
  };
  const point = {
    name,
    type: "scatter",
    symbol: symbolOf(place),
    symbolSize: 12,
    data: [{ value: [cost, mAP], of }],
    itemStyle: { color: front ? colour : colours.panel, borderColor: colour, borderWidth: 2 },
  };
  return interval.length ? [bar, point] : [point];
}
