// A search by gradient: the cell redrawn from the alphas of an epoch, the curves of an edge, the weights of all edges.
// {epochs, groups: [{name, numNodes (0: no cell), edges: [{name, from, to, options, weights [epoch][option],
//  kept [epoch] (a place in options, -1 for none), macs, ms [option] or null}]}], health: [{...} of an epoch or null]}

const PLAY_MS = 350;

function searchView(host, search) {
  const state = { epoch: search.epochs.length - 1, group: search.groups[0], edge: null, playing: null };
  const parts = { host, search, state };
  parts.cell = make("div", { class: "scroll cell-box" });
  parts.words = make("p", { class: "edge-words" });
  parts.says = make("p", { class: "live", "aria-live": "polite" });
  const curves = make("div", { class: "curves" }, make("h4", {}), parts.words);
  const matrix = make("div", { class: "matrix" });
  host.append(searchControls(parts), parts.says, make("div", { class: "cell-and-curves" }, parts.cell, curves), matrix);
  parts.title = curves.querySelector("h4");
  parts.curves = makeChart(
    curves,
    "Weights of the chosen edge's operations over the epochs",
    (colours) => curveOption(colours, parts),
    250,
  );
  parts.legend = make("p", { class: "keys" });
  parts.cell.after(parts.legend);
  matrix.append(make("h4", {}, "Weights of all edges in this epoch"));
  parts.matrix = makeChart(
    matrix,
    "Heat map of edges and operations: the softmax weights in the chosen epoch",
    (colours) => matrixOption(colours, parts),
    320,
  );
  parts.matrix.on("click", (cell) => chooseEdge(parts, state.group.edges[cell.data.value[1]]));
  chooseGroup(parts, state.group);
}

function searchControls(parts) {
  const { search, state } = parts;
  const groups = search.groups.map((group, place) => [place, group.name]);
  const { field } = makeSelect("Cell", groups, (place) => chooseGroup(parts, search.groups[place]));
  const last = search.epochs.length - 1;
  parts.slider = make("input", {
    type: "range",
    min: 0,
    max: last,
    value: last,
    "aria-label": "Epoch",
    input: () => (stopPlaying(parts), showEpoch(parts, Number(parts.slider.value))),
  });
  parts.epoch = make("output", {});
  parts.play = make(
    "button",
    { type: "button", click: () => (state.playing ? stopPlaying(parts) : startPlaying(parts)) },
    "Play",
  );
  return make(
    "div",
    { class: "controls" },
    groups.length > 1 ? field : null,
    parts.play,
    make("label", { class: "field wide" }, make("span", {}, "Epoch"), parts.slider),
    parts.epoch,
  );
}

function startPlaying(parts) {
  const { state, search } = parts;
  if (state.epoch === search.epochs.length - 1) showEpoch(parts, 0);
  parts.play.textContent = "Pause";
  state.playing = setInterval(() => {
    if (state.epoch === search.epochs.length - 1) stopPlaying(parts);
    else showEpoch(parts, state.epoch + 1);
  }, PLAY_MS);
}

function stopPlaying(parts) {
  clearInterval(parts.state.playing);
  parts.state.playing = null;
  parts.play.textContent = "Play";
  sayEpoch(parts);
}

function chooseGroup(parts, group) {
  parts.state.group = group;
  const used = [...new Set(group.edges.flatMap((edge) => edge.options))];
  parts.legend.replaceChildren(
    ...used.map((key) =>
      make("span", {}, make("i", { style: `background:${operation(key).colour}` }), operation(key).name),
    ),
  );
  parts.matrix.box.style.height = `${90 + 22 * group.edges.length}px`;
  parts.matrix.instance?.resize();
  chooseEdge(parts, group.edges.find((edge) => edge.kept[parts.state.epoch] >= 0) ?? group.edges[0]);
  showEpoch(parts, parts.state.epoch);
}

function showEpoch(parts, epoch) {
  const { state, search } = parts;
  state.epoch = epoch;
  parts.slider.value = epoch;
  parts.slider.setAttribute("aria-valuetext", `epoch ${search.epochs[epoch]}`);
  parts.epoch.textContent = `${search.epochs[epoch]} of ${search.epochs.at(-1)}`;
  drawSearched(parts);
  parts.matrix.redraw();
  parts.curves.redraw();
  sayEdge(parts);
  if (!state.playing) sayEpoch(parts);
}

function chooseEdge(parts, edge) {
  parts.state.edge = edge;
  parts.title.textContent = `Weights of ${edgeTitle(edge)} over the epochs`;
  for (const line of parts.cell.querySelectorAll("[data-edge]"))
    line.classList.toggle("chosen", line.dataset.edge === edge.name);
  parts.curves.redraw();
  sayEdge(parts);
}

function edgeTitle(edge) {
  return edge.to === null ? edge.name : `${edge.from} → ${edge.to}`;
}

// The options of an edge at an epoch from the heaviest on; `none` takes no part in what is derived.
function ranking(edge, epoch) {
  const weights = edge.weights[epoch];
  const places = edge.options.map((key, place) => ({ key, place, weight: weights?.[place] ?? null }));
  return places.filter((each) => each.weight !== null).sort((a, b) => b.weight - a.weight);
}

function leading(edge, epoch) {
  return ranking(edge, epoch).filter((each) => each.key !== "none");
}

// An edge in words: what leads, before what and by how much, and what it costs.
function edgeWords(edge, epoch) {
  const [first, second] = leading(edge, epoch);
  if (!first) return "no weights in this epoch";
  const margin = second ? `, before ${operation(second.key).name} by ${number(first.weight - second.weight, 2)}` : "";
  const cost = costWords(edge, first.place);
  return `${operation(first.key).name} leads with ${number(first.weight, 3)}${margin}${cost ? ` (${cost})` : ""}.${keptWords(edge, edge.kept[epoch], first)}`;
}

// Whether the architecture of the epoch would have the edge, and with which operation if that does not lead.
function keptWords(edge, kept, first) {
  if (kept < 0) return edge.to === null ? "" : " It is not kept.";
  return kept === first.place ? " It is kept." : ` It is kept with ${operation(edge.options[kept]).name}.`;
}

function costWords(edge, place) {
  const [count, time] = [edge.macs?.[place] ?? null, edge.ms?.[place] ?? null];
  return [count === null ? "" : `${macs(count)} MACs`, time === null ? "" : `${number(time)} ms`]
    .filter(Boolean)
    .join(", ");
}

function sayEdge(parts) {
  const { edge, epoch } = parts.state;
  parts.words.textContent = `${edgeTitle(edge)}: ${edgeWords(edge, epoch)}`;
}

function sayEpoch(parts) {
  const { search, state } = parts;
  const health = search.health[state.epoch];
  parts.says.textContent = `Epoch ${search.epochs[state.epoch]}. ${health ? healthWords(health) : ""}`;
}

// What the measures of a search's health mean, and when to worry.
function healthWords(health) {
  const words = [];
  if (health.entropy !== undefined)
    words.push(
      `Entropy ${number(health.entropy, 2)}: ${health.entropy > 0.9 ? "nothing is decided yet" : health.entropy > 0.5 ? "the weights lean, and may still turn" : "most edges are decided"}.`,
    );
  if (health.margin !== undefined)
    words.push(
      `The first operation leads the second by ${number(health.margin, 2)} on average${health.margin < 0.02 ? ", which chance can turn" : ""}.`,
    );
  if (health.skip_share !== undefined)
    words.push(
      `${percent(health.skip_share, 0)} % identities${health.skip_share > 0.5 ? ": worry, the search may be collapsing into a network without weights" : ""}.`,
    );
  return words.join(" ");
}

function drawSearched(parts) {
  const { group, epoch, edge: chosen } = parts.state;
  if (!group.numNodes) return void parts.cell.replaceChildren();
  const focused = document.activeElement?.dataset?.edge;
  const cell = makeCell(group.numNodes, `The ${group.name} cell in this epoch`);
  const kept = group.edges.filter((edge) => edge.kept[epoch] >= 0);
  for (const edge of [...group.edges.filter((each) => !kept.includes(each)), ...kept]) {
    cell.edges.append(searchedEdge(parts, cell, edge, edge === chosen));
    if (kept.includes(edge))
      cell.name(edgePath(cell.places[edge.from], cell.places[edge.to]), operation(edge.options[edge.kept[epoch]]).name);
  }
  parts.cell.replaceChildren(cell.svg);
  if (focused) parts.cell.querySelector(`[data-edge="${CSS.escape(focused)}"]`)?.focus();
}

// A line whose width is the weight of its leading operation, and whose colour is that operation's; dashed if not kept.
function searchedEdge(parts, cell, edge, chosen) {
  const { epoch } = parts.state;
  const kept = edge.kept[epoch];
  const first =
    kept >= 0 ? { key: edge.options[kept], weight: edge.weights[epoch]?.[kept] ?? 0 } : leading(edge, epoch)[0];
  if (!first) return makeSvg("g", {});
  const path = edgePath(cell.places[edge.from], cell.places[edge.to]);
  const [width, { colour }] = [0.8 + 11 * first.weight, operation(first.key)];
  const look = {
    d: path.d,
    fill: "none",
    stroke: colour,
    "stroke-width": width,
    "stroke-dasharray": kept >= 0 ? null : "3 5",
  };
  const shows = (event) => (chooseEdge(parts, edge), showEdgeTip(edge, epoch, event));
  return makeSvg(
    "g",
    {
      class: `edge${kept >= 0 ? " kept" : ""}${chosen ? " chosen" : ""}`,
      tabindex: 0,
      role: "button",
      "data-edge": edge.name,
      "aria-label": `${edgeTitle(edge)}: ${edgeWords(edge, epoch)}`,
      pointerenter: shows,
      pointerleave: () => tip.hide(),
      focus: () => chooseEdge(parts, edge),
      click: shows,
    },
    makeSvg("path", { class: "reach", d: path.d }),
    makeSvg("path", look),
    kept >= 0 ? arrowHead(path, width / 2 + 1, colour) : null,
  );
}

function showEdgeTip(edge, epoch, event) {
  const rows = ranking(edge, epoch).map(({ key, place, weight }) => [
    operation(key).colour,
    operation(key).name,
    [number(weight, 3), costWords(edge, place)].filter(Boolean).join(" · "),
  ]);
  const [first, second] = leading(edge, epoch);
  const content = tipTable(edgeTitle(edge), rows);
  if (second)
    content.append(
      make("p", {}, `Runner-up: ${operation(second.key).name}; margin ${number(first.weight - second.weight, 2)}`),
    );
  tip.show(content, event.clientX, event.clientY);
}

function curveOption(colours, parts) {
  const { edge, epoch } = parts.state;
  const { epochs } = parts.search;
  return {
    grid: { left: 8, right: 14, top: 10, bottom: 24, containLabel: true },
    xAxis: axis(colours, "epoch", {
      type: "value",
      min: epochs[0],
      max: Math.max(epochs.at(-1), epochs[0] + 1),
      minInterval: 1,
    }),
    yAxis: axis(colours, "", { type: "value", min: 0 }),
    tooltip: tooltip(colours, (points) => lineTip(`epoch ${points[0].value[0]}`, points), { trigger: "axis" }),
    series: edge.options.map((key, place) => ({
      name: operation(key).name,
      type: "line",
      showSymbol: epochs.length < 12,
      symbol: "circle",
      symbolSize: 5,
      emphasis: { disabled: true },
      data: epochs.map((each, line) => [each, edge.weights[line]?.[place] ?? null]),
      lineStyle: { color: operation(key).colour, width: 2, type: key === "none" ? "dotted" : "solid" },
      itemStyle: { color: operation(key).colour },
      markLine: place
        ? undefined
        : {
            silent: true,
            precision: 6,
            symbol: "none",
            label: { show: false },
            lineStyle: { color: colours.muted, type: "dashed" },
            data: [{ xAxis: epochs[epoch] }],
          },
    })),
  };
}

function matrixOption(colours, parts) {
  const { group, epoch } = parts.state;
  const used = [...new Set(group.edges.flatMap((edge) => edge.options))];
  group.most ??= Math.max(...group.edges.flatMap((edge) => edge.weights.flatMap((weights) => weights ?? [0])));
  const data = group.edges.flatMap((edge, row) =>
    edge.options.map((key, place) => {
      const weight = edge.weights[epoch]?.[place] ?? "-";
      return {
        value: [used.indexOf(key), row, weight],
        label: { color: weight > 0.55 * group.most ? "#000" : "#fff" },
      };
    }),
  );
  return {
    grid: { left: 8, right: 8, top: 8, bottom: 46, containLabel: true },
    xAxis: {
      ...axis(colours, ""),
      type: "category",
      data: used.map((key) => operation(key).name),
      splitLine: { show: false },
      axisLabel: {
        color: colours.muted,
        fontSize: 11,
        interval: 0,
        rotate: used.length > 5 && window.innerWidth < 700 ? 60 : 0,
      },
    },
    yAxis: {
      ...axis(colours, ""),
      type: "category",
      inverse: true,
      data: group.edges.map(edgeTitle),
      splitLine: { show: false },
      axisLabel: { color: colours.muted, fontSize: 11, width: 130, overflow: "truncate" },
    },
    visualMap: colourBar(colours, group.most, number(group.most, 2)),
    tooltip: tooltip(
      colours,
      ({
        data: {
          value: [place, row, weight],
        },
      }) => tipTable(edgeTitle(group.edges[row]), [["", operation(used[place]).name, number(weight, 3)]]),
    ),
    series: [
      {
        type: "heatmap",
        data,
        itemStyle: { borderColor: colours.panel, borderWidth: 2 },
        label: {
          show: window.innerWidth >= 700,
          fontSize: 11,
          formatter: ({
            data: {
              value: [, , weight],
            },
          }) => number(weight, 2),
        },
      },
    ],
  };
}
