// The same edge in several searches: an operation has its colour, a run its dashes.
// [{name, search: as searchView takes it}]

function overlaidView(host, runs) {
  const edges = [
    ...new Set(runs.flatMap(({ search }) => search.groups.flatMap((group) => group.edges.map((edge) => edge.name)))),
  ];
  const state = { edge: edges[0] };
  const words = make("p", { class: "note", "aria-live": "polite" });
  const keys = make("p", { class: "keys" });
  const { field } = makeSelect(
    "Edge",
    edges.map((name) => [name, name]),
    (name) => ((state.edge = name), show()),
  );
  host.append(make("div", { class: "controls" }, field), keys);
  const chart = makeChart(
    host,
    "Weights of an edge's operations in each search",
    (colours) => overlaidOption(colours, runs, state.edge),
    320,
  );
  host.append(words);
  const show = () => {
    const found = curvesOf(runs, state.edge);
    const used = [...new Set(found.flatMap(({ edge }) => edge.options))];
    keys.replaceChildren(
      ...found.map(({ name, dash }) =>
        make("span", {}, `${{ solid: "—", dashed: "– –", dotted: "···" }[dash]} ${name}`),
      ),
      ...used.map((key) =>
        make("span", {}, make("i", { style: `background:${operation(key).colour}` }), operation(key).name),
      ),
    );
    words.textContent = found.map(({ name, edge, last }) => `${name}: ${edgeWords(edge, last)}`).join(" ");
    chart.redraw();
  };
  show();
}

// The runs that have the edge, with its place in each.
function curvesOf(runs, name) {
  return runs.flatMap((run, place) => {
    const edge = run.search.groups.flatMap((group) => group.edges).find((each) => each.name === name);
    return edge
      ? [
          {
            name: run.name,
            epochs: run.search.epochs,
            edge,
            last: run.search.epochs.length - 1,
            dash: DASHES[place % DASHES.length],
          },
        ]
      : [];
  });
}

function overlaidOption(colours, runs, name) {
  const found = curvesOf(runs, name);
  return {
    grid: { left: 8, right: 14, top: 10, bottom: 24, containLabel: true },
    xAxis: axis(colours, "epoch", {
      type: "value",
      min: 0,
      max: Math.max(1, ...found.map(({ epochs }) => epochs.at(-1))),
      minInterval: 1,
    }),
    yAxis: axis(colours, "", { type: "value", min: 0 }),
    tooltip: tooltip(colours, (points) => lineTip(`epoch ${points[0].value[0]}`, points), { trigger: "axis" }),
    series: found.flatMap(({ name: run, epochs, edge, dash }) =>
      edge.options.map((key, place) => ({
        name: `${run}: ${operation(key).name}`,
        type: "line",
        showSymbol: epochs.length < 12,
        symbolSize: 5,
        emphasis: { disabled: true },
        data: epochs.map((each, line) => [each, edge.weights[line]?.[place] ?? null]),
        lineStyle: { color: operation(key).colour, width: 2, type: dash },
        itemStyle: { color: operation(key).colour },
      })),
    ),
  };
}
