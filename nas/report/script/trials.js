// A search by trials: scores against costs with the front, the best so far, and the architectures behind the points.
// trials: {value: {name, percent}, cost: {name, size}, further: [{key, name}],
//   trials: [{score, cost, further: {key: share}, best, pruned, epochs, decisions}]}
// ranked: {value, cost, further, entries: [{score, cost, further, hash, parameters, decisions}]}
// What is further is weighed beside the score: it has a panel of its own, and the front is of all.

function trialsView(host, search) {
  const shown = make("div", { class: "architecture-of" });
  const hasCosts = search.trials.some((each) => each.cost !== null);
  const scatters = (hasCosts ? measuresOf(search) : []).map((measure) => ({
    measure,
    panel: make("div", { class: "panel" }, make("h4", {}, `${measure.name} against ${search.cost.name}`)),
  }));
  const best = make("div", { class: "panel" }, make("h4", {}, "Best so far"));
  const { field, select } = makeSelect(
    "Trial",
    search.trials.map((each, place) => [place, `${place + 1}: ${scoreText(search, each)}`]),
    (place) => choose(Number(place)),
  );
  host.append(
    make("div", { class: "panels" }, ...scatters.map(({ panel }) => panel), best),
    make("div", { class: "controls" }, field),
    shown,
  );
  const choose = (place) => ((select.value = place), showTrial(shown, search, place));
  for (const { measure, panel } of scatters)
    makeChart(
      panel,
      `${measure === scatters[0].measure ? "Scores" : measure.name} of all trials against their costs, with the front`,
      (colours) => scatterOption(colours, search, measure),
      320,
    ).on("click", (point) => point.data.place !== undefined && choose(point.data.place));
  makeChart(
    best,
    "Scores of the trials in their order, with the best so far",
    (colours) => bestOption(colours, search),
    320,
  ).on("click", (point) => point.data.place !== undefined && choose(point.data.place));
  const first = search.trials.reduce(
    (top, each, place) => (!each.pruned && each.score > (search.trials[top]?.score ?? -Infinity) ? place : top),
    0,
  );
  choose(first);
}

function scoreText({ value }, { score }) {
  if (typeof score !== "number") return "–";
  return value.percent ? percent(score) : score.toFixed(4);
}

// The score, and what else the search weighed, each in its unit.
function measuresOf({ value, further }) {
  return [
    { name: value.name, of: ({ score }) => (value.percent && score !== null ? 100 * score : score) },
    ...further.map(({ key, name }) => ({ name, of: (trial) => shareOf(trial, key) })),
  ];
}

function shareOf(entry, key) {
  const share = entry.further[key];
  return typeof share === "number" ? 100 * share : null;
}

function furtherTexts({ further }, entry) {
  return further.map(({ key, name }) => [name, percent(entry.further[key])]);
}

function costText({ cost }, entry) {
  return entry.cost === null ? "–" : cost.name === "MACs" ? macs(entry.cost) : number(entry.cost);
}

function showTrial(host, search, place) {
  const trial = search.trials[place];
  const words = [
    `${search.value.name} ${scoreText(search, trial)}`,
    ...furtherTexts(search, trial).map((each) => each.join(" ")),
    `${search.cost.name} ${costText(search, trial)}`,
    trial.epochs ? `${trial.epochs} epochs` : "",
    trial.pruned ? "stopped early" : "",
  ];
  host.replaceChildren(
    make("h4", {}, `Trial ${place + 1}`),
    make("p", { "aria-live": "polite" }, words.filter(Boolean).join(" · ")),
    ...architecturePictures(trial.decisions),
  );
}

// Each cell of an architecture, and its other decisions as text.
function architecturePictures(decisions, against = null) {
  const [cells, others] = [cellsOf(decisions), against && cellsOf(against)];
  const { "": rest, ...drawn } = cells;
  const figures = Object.entries(drawn).map(([name, edges]) =>
    make(
      "figure",
      {},
      make("div", { class: "scroll" }, drawnCell(name, edges, { others: others && (others[name] ?? []) })),
      make("figcaption", {}, name),
    ),
  );
  return [...figures, rest.length ? decisionList(rest, others?.[""]) : null].filter(Boolean);
}

function decisionList(rest, others) {
  const known = new Set((others ?? []).map(String));
  return make(
    "dl",
    { class: "decisions" },
    ...rest.map(([name, value]) => {
      const differs = others && !known.has(String([name, value]));
      return make(
        "div",
        { class: differs ? "differs" : null },
        make("dt", {}, name),
        make("dd", {}, differs ? `${value} (differs)` : value),
      );
    }),
  );
}

function trialTip(search) {
  return ({ data }) =>
    data.place === undefined
      ? ""
      : tipTable(`Trial ${data.place + 1}`, [
          ["", search.value.name, scoreText(search, search.trials[data.place])],
          ...furtherTexts(search, search.trials[data.place]).map((each) => ["", ...each]),
          ["", search.cost.name, costText(search, search.trials[data.place])],
          ...(search.trials[data.place].pruned ? [["", "stopped early", ""]] : []),
        ]);
}

// Trials that no other beats in score, cost and whatever is further, the cheapest first.
function frontOf(search) {
  const vector = (each) => [-each.cost, each.score, ...search.further.map(({ key }) => each.further[key] ?? -Infinity)];
  const beats = (one, other) => {
    const [mine, its] = [vector(one), vector(other)];
    return mine.every((value, place) => value >= its[place]) && mine.some((value, place) => value > its[place]);
  };
  const whole = search.trials.filter((each) => !each.pruned && each.cost !== null);
  return whole.filter((each) => !whole.some((other) => beats(other, each))).sort((a, b) => a.cost - b.cost);
}

function scaled(search, measure, trial) {
  return [trial.cost / search.cost.size, measure.of(trial)];
}

// With two things to weigh the front is a line, with more its points are ringed.
function frontSeries(search, measure) {
  const data = frontOf(search).map((each) => scaled(search, measure, each));
  const colour = "#d55e00";
  if (search.further.length)
    return {
      name: "front",
      type: "scatter",
      data,
      symbol: "emptyCircle",
      symbolSize: 17,
      silent: true,
      z: 1, // below the trials
      itemStyle: { color: colour, borderWidth: 2 },
    };
  return {
    name: "front",
    type: "line",
    data,
    symbol: "none",
    lineStyle: { color: colour, width: 2 },
    itemStyle: { color: colour },
  };
}

function scatterOption(colours, search, measure) {
  const last = Math.max(1, search.trials.length - 1);
  const points = search.trials
    .map((each, place) => ({
      place,
      value: [...scaled(search, measure, each), place + 1],
      symbol: each.pruned ? "emptyCircle" : "circle",
    }))
    .filter((_, place) => search.trials[place].cost !== null);
  return {
    legend: { ...legend(colours, ["trials", "front"]), show: true },
    grid: { left: 8, right: 70, top: 34, bottom: 24, containLabel: true },
    xAxis: axis(colours, search.cost.axis, { type: "value", scale: true }),
    yAxis: axis(colours, "", { type: "value", scale: true }),
    visualMap: {
      dimension: 2,
      min: 1,
      max: last + 1,
      seriesIndex: 0,
      right: 0,
      top: "middle",
      itemHeight: 110,
      itemWidth: 10,
      text: ["last", "first"],
      textStyle: { color: colours.muted, fontSize: 11 },
      inRange: { color: SCALE.slice(1) },
      calculable: false,
    },
    tooltip: tooltip(colours, trialTip(search)),
    series: [
      {
        name: "trials",
        type: "scatter",
        data: points,
        symbolSize: 10,
        itemStyle: { borderColor: colours.muted, borderWidth: 0.6 },
      },
      frontSeries(search, measure),
    ],
  };
}

function bestOption(colours, search) {
  const of = (key) =>
    search.trials.map((each, place) => [
      place + 1,
      each[key] === null ? null : (search.value.percent ? 100 : 1) * each[key],
    ]);
  const scores = of("score").map((value, place) => ({
    place,
    value,
    symbol: search.trials[place].pruned ? "emptyCircle" : "circle",
  }));
  const chance = byChance(colours, search);
  const rungs = search.trials.some((each) => each.epochs !== null)
    ? [
        {
          name: "epochs",
          type: "bar",
          yAxisIndex: 1,
          data: search.trials.map((each, place) => [place + 1, each.epochs]),
          itemStyle: { color: colours.soft },
          barWidth: "60%",
          z: 1,
        },
      ]
    : [];
  return {
    legend: { ...legend(colours, ["trial", "best so far", ...[...chance, ...rungs].map((each) => each.name)]), show: true },
    grid: { left: 8, right: 18, top: 34, bottom: 24, containLabel: true },
    xAxis: axis(colours, "trial", { type: "value", min: 0, max: search.trials.length + 1, minInterval: 1 }),
    yAxis: [
      axis(colours, "", { type: "value", scale: true }),
      axis(colours, "", { type: "value", show: rungs.length > 0, splitLine: { show: false }, minInterval: 1 }),
    ],
    tooltip: tooltip(colours, trialTip(search)),
    series: [
      ...rungs,
      ...chance,
      { name: "trial", type: "scatter", data: scores, symbolSize: 8, itemStyle: { color: shade("#0072b2") } },
      {
        name: "best so far",
        type: "line",
        step: "end",
        data: of("best"),
        symbol: "none",
        lineStyle: { color: "#d55e00", width: 2 },
        itemStyle: { color: "#d55e00" },
      },
    ],
  };
}

// The best of as many architectures drawn by chance: the median, and a band of eight in ten such searches.
function byChance(colours, search) {
  if (!search.byChance) return [];
  const { num, low, middle, high } = search.byChance;
  const size = search.value.percent ? 100 : 1;
  const series = (values) => ({
    name: `best by chance, of ${num} drawn`,
    type: "line",
    data: values.map((value, place) => [place + 1, size * value]),
    symbol: "none",
    silent: true,
    tooltip: { show: false },
    lineStyle: { color: colours.muted, width: 1.5, type: "dashed" },
    itemStyle: { color: colours.muted },
  });
  const end = (values, area) => ({
    ...series(values),
    stack: "by chance",
    lineStyle: { opacity: 0 },
    areaStyle: { color: colours.muted, opacity: area },
  });
  return [
    end(low, 0),
    end(
      high.map((value, place) => value - low[place]),
      0.15,
    ),
    series(middle),
  ];
}

const SHORT = 8; // rows of a short table, as views.css has it

// A sortable table of architectures, each with a thumbnail of its first cell; one that is pressed is drawn large, and
// what differs from the best is marked.
function rankedView(host, ranked) {
  const large = make("div", { class: "architecture-of", "aria-live": "polite" });
  const best = ranked.entries[0];
  const rows = ranked.entries.map((entry, place) =>
    rankedRow(entry, place, ranked, (button) => showRanked(large, entry, place, best, button)),
  );
  const heads = [
    ...["#", "cells", ranked.value.name, "below #1"],
    ...ranked.further.map(({ name }) => name),
    ...[ranked.cost.name, "parameters", "differs in"],
  ];
  const used = heads.map((_, column) => column === 0 || rows.some((row) => row.cells[column].textContent !== "–"));
  const table = make(
    "table",
    { class: "results ranked-table" },
    make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
    make("tbody", {}, ...rows),
  );
  for (const row of table.rows)
    [...row.cells].forEach((cell, column) => {
      cell.hidden = !used[column];
    });
  const more = make(
    "button",
    { type: "button", click: () => (table.classList.remove("short"), more.remove()) },
    `Show all ${rows.length}`,
  );
  table.classList.add("short");
  host.append(
    large,
    make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Ranked architectures" }, table),
    rows.length > SHORT ? more : "",
  );
  makeSortable(table);
}

function rankedRow(entry, place, ranked, open) {
  const best = ranked.entries[0];
  const cells = Object.entries(cellsOf(entry.decisions)).filter(([name]) => name);
  const small = cells.map(([name, edges]) => drawnCell(name, edges, { small: true }));
  const button = make(
    "button",
    { type: "button", class: "open", "aria-label": `Open architecture ${place + 1}`, click: () => open(button) },
    ...(small.length ? small : ["Open"]),
  );
  const less = typeof entry.score === "number" && typeof best.score === "number" ? best.score - entry.score : null;
  const texts = [
    scoreText(ranked, entry),
    place && less !== null ? (ranked.value.percent ? percent(less) : number(less)) : "–",
    ...furtherTexts(ranked, entry).map(([, text]) => text),
    costText(ranked, entry),
    macs(entry.parameters),
    place ? numDifferences(entry.decisions, best.decisions) : "–",
  ];
  return make(
    "tr",
    {},
    make("th", { scope: "row" }, String(place + 1)),
    make("td", {}, button),
    ...texts.map((text) => make("td", {}, text)),
  );
}

function numDifferences(decisions, others) {
  const names = [...new Set([...Object.keys(decisions), ...Object.keys(others)])];
  const different = names.filter((name) => JSON.stringify(decisions[name]) !== JSON.stringify(others[name])).length;
  return `${different} of ${names.length}`;
}

function showRanked(large, entry, place, best, button) {
  const close = make("button", { type: "button", click: () => (large.replaceChildren(), button.focus()) }, "Close");
  const words = place ? "What differs from the best is underlaid and says so." : "The best.";
  large.replaceChildren(
    make("h4", {}, `Architecture ${place + 1} `, make("code", {}, entry.hash)),
    make("p", {}, words),
    ...architecturePictures(entry.decisions, place ? best.decisions : null),
    close,
  );
  large.scrollIntoView({ block: "nearest" });
}
