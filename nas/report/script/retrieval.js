// What features tell apart: distances with a threshold under the pointer, cameras against each other, the plane.

// {distance, edges [B + 1], right [B], wrong [B]}: numbers of pairs whose distance lies between two edges.
function distancesView(host, pairs) {
  const sums = (counts) => counts.reduce((all, each) => [...all, all.at(-1) + each], [0]);
  const within = { right: sums(pairs.right), wrong: sums(pairs.wrong) };
  const rates = pairs.edges.map((edge, place) => ({
    edge,
    letIn: within.wrong[place] / within.wrong.at(-1),
    missed: 1 - within.right[place] / within.right.at(-1),
  }));
  const equal = rates.reduce((best, each) =>
    Math.abs(each.letIn - each.missed) < Math.abs(best.letIn - best.missed) ? each : best,
  );
  host.append(thresholdWords(rates, equal));
  makeChart(
    host,
    "Distances of right and of wrong pairs, as shares of their own",
    (colours) => distanceOption(colours, pairs, rates, equal),
    320,
  );
}

// A slider over the thresholds, for who has no pointer, and what each of them is worth.
function thresholdWords(rates, equal) {
  const says = make("output", { "aria-live": "polite" });
  const slider = make("input", {
    type: "range",
    min: 0,
    max: rates.length - 1,
    value: rates.indexOf(equal),
    input: () => tell(),
  });
  const tell = () => {
    const { edge, letIn, missed } = rates[slider.value];
    says.textContent = `Threshold ${number(edge, 4)}: ${percent(letIn, 2)} % of the wrong pairs are let in, ${percent(missed, 2)} % of the right ones missed.`;
    slider.setAttribute("aria-valuetext", says.textContent);
  };
  tell();
  return make(
    "div",
    {},
    make("label", { class: "field wide" }, make("span", {}, "Threshold"), slider),
    make(
      "p",
      {},
      says,
      ` At ${number(equal.edge, 4)} both errors are equal, ${percent((equal.letIn + equal.missed) / 2)} %.`,
    ),
  );
}

function distanceOption(colours, pairs, rates, equal) {
  const series = [
    ["right pairs", pairs.right, "#0072b2", "solid"],
    ["wrong pairs", pairs.wrong, "#d55e00", "dashed"],
  ].map(([name, counts, colour, type], place) => {
    const all = counts.reduce((a, b) => a + b, 0);
    return {
      name: `${name} (${count(all)})`,
      type: "line",
      step: "end",
      symbol: "none",
      data: [...counts.map((each, bin) => [pairs.edges[bin], (100 * each) / all]), [pairs.edges.at(-1), 0]],
      lineStyle: { color: shade(colour), width: 1.6, type },
      itemStyle: { color: shade(colour) },
      areaStyle: { color: shade(colour), opacity: 0.18 },
      emphasis: { disabled: true },
      markLine: place
        ? undefined
        : {
            silent: true,
            precision: 6,
            symbol: "none",
            label: { formatter: "equal errors", color: colours.muted },
            lineStyle: { color: colours.muted, type: "dotted" },
            data: [{ xAxis: equal.edge }],
          },
    };
  });
  const tell = (points) => {
    const place = rates.findLastIndex((each) => each.edge <= points[0].value[0]);
    const { edge, letIn, missed } = rates[Math.max(0, place)];
    return tipTable(`threshold ${number(edge, 4)}`, [
      ["", "wrong pairs let in", `${percent(letIn, 2)} %`],
      ["", "right pairs missed", `${percent(missed, 2)} %`],
    ]);
  };
  return {
    legend: legend(
      colours,
      series.map((each) => each.name),
    ),
    grid: { left: 8, right: 18, top: 40, bottom: 24, containLabel: true },
    xAxis: axis(colours, `${pairs.distance} distance`, { type: "value", min: pairs.edges[0], max: pairs.edges.at(-1) }),
    yAxis: axis(colours, "", { type: "value", axisLabel: { color: colours.muted, formatter: "{value} %" } }),
    tooltip: tooltip(colours, tell, { trigger: "axis" }),
    series,
  };
}

// {rows, columns: cameras; num_queries, mAP, rank1: tables}, both shares on one scale from 0 to 100.
function camerasView(host, pairs) {
  host.classList.add("panels");
  for (const [key, name] of [
    ["mAP", "mAP (%)"],
    ["rank1", "rank-1 (%)"],
  ]) {
    const panel = make("div", { class: "panel" }, make("h4", {}, name));
    host.append(panel);
    makeChart(
      panel,
      `${name} of each query camera in each gallery camera`,
      (colours) => cameraOption(colours, pairs, key, name),
      Math.min(720, Math.max(260, 130 + 34 * pairs.rows.length)),
    );
  }
}

function cameraOption(colours, pairs, key, name) {
  const cells = pairs.rows.flatMap((_, row) =>
    pairs.columns.map((__, column) => {
      const value = pairs[key][row][column];
      return {
        value: [column, row, value === null ? "-" : 100 * value],
        label: { color: value > 0.55 ? "#000" : "#fff" },
      };
    }),
  );
  const camera = (label, numbers, more) => ({
    ...axis(colours, label),
    axisLabel: { color: colours.muted, fontSize: 11 },
    type: "category",
    data: numbers.map(String),
    splitLine: { show: false },
    ...more,
  });
  return {
    grid: { left: 26, right: 8, top: 8, bottom: 76, containLabel: true },
    xAxis: camera("camera of the gallery", pairs.columns),
    yAxis: camera("camera of the query", pairs.rows, { inverse: true }),
    visualMap: colourBar(colours, 100, "100"),
    tooltip: tooltip(
      colours,
      ({
        data: {
          value: [column, row, value],
        },
      }) =>
        tipTable(`${pairs.rows[row]} → ${pairs.columns[column]}`, [
          ["", name, value === "-" ? "–" : number(value)],
          ["", "queries", count(pairs.num_queries[row][column])],
        ]),
    ),
    series: [
      {
        type: "heatmap",
        data: cells,
        itemStyle: { borderColor: colours.panel, borderWidth: 1 },
        label: {
          show: pairs.columns.length <= 16,
          fontSize: 11,
          formatter: ({
            data: {
              value: [, , value],
            },
          }) => (value === "-" ? "" : value.toFixed(0)),
        },
      },
    ],
  };
}

// {perplexity, places, identities, cameras, names}: images of some identities, in a colour each; the camera is the shape.
function planeView(host, plane) {
  host.append(
    make(
      "p",
      { class: "note" },
      `t-SNE of ${plane.places.length} images, perplexity ${number(plane.perplexity)}. Colours are identities${plane.cameras ? ", shapes are cameras" : ""}; far distances mean little.`,
    ),
  );
  makeChart(host, "t-SNE of the features of some identities", (colours) => planeOption(colours, plane), 460);
}

function planeOption(colours, plane) {
  const cameras = [...new Set(plane.cameras ?? [])].sort((a, b) => a - b);
  const series = [...new Set(plane.identities)].map((identity, number) => ({
    name: String(identity),
    type: "scatter",
    symbolSize: 11,
    itemStyle: {
      color: shade(PLANE_COLOURS[number % PLANE_COLOURS.length]),
      borderColor: colours.panel,
      borderWidth: 0.6,
    },
    data: plane.places.flatMap((place, index) =>
      plane.identities[index] === identity
        ? [
            {
              value: place,
              index,
              symbol: plane.cameras ? SYMBOLS[cameras.indexOf(plane.cameras[index]) % SYMBOLS.length] : "circle",
            },
          ]
        : [],
    ),
  }));
  const none = {
    type: "value",
    scale: true,
    axisLabel: { show: false },
    axisTick: { show: false },
    axisLine: { onZero: false, lineStyle: { color: colours.line } },
    splitLine: { show: false },
  };
  return {
    legend: {
      ...legend(
        colours,
        series.map((each) => each.name),
      ),
      icon: "circle",
      itemWidth: 10,
      itemHeight: 10,
    },
    grid: { left: 8, right: 8, top: 36, bottom: 8 },
    xAxis: none,
    yAxis: none,
    tooltip: tooltip(colours, ({ data: { index } }) => planeTip(plane, index)),
    series,
  };
}

const PLANE_COLOURS = [...SERIES_COLOURS, "#003f7d", "#8d939c", "#7a4a1e"];

function planeTip(plane, index) {
  const picture = pictures("gallery")[plane.names?.[index]];
  const words = tipTable(
    `identity ${plane.identities[index]}`,
    plane.cameras ? [["", "camera", String(plane.cameras[index])]] : [],
  );
  if (!picture) return words;
  const image = make("img", { alt: "", height: 120 });
  image.src = picture.source;
  return make("div", {}, image, words);
}
