// The trials of `nas tune`, and the arms of `nas ablate`.
// study: {trials: [{number, state, best, mAP, cost, minutes, epochs, worker, why, params, decisions}], importances:
//  [[name, share]], axes: [{name, log, words}], weighsCost, commands: [{name, command}]}

function studyView(host, study) {
  const panel = (title, ...children) => make("div", { class: "panel" }, make("h4", {}, title), ...children);
  const shown = make("div", { class: "architecture-of" });
  const choose = (number) =>
    showTuned(
      shown,
      study.trials.find((trial) => trial.number === number),
    );
  const pressed = (chart) => chart.on("click", ({ data }) => data?.number !== undefined && choose(data.number));
  const measured = study.trials.filter((trial) => trial.mAP !== null);
  if (study.commands.length)
    host.append(
      ...study.commands.map(({ name, command }) =>
        make("div", {}, make("h4", {}, `${name}, as a run`), make("pre", {}, command)),
      ),
    );
  if (!measured.length) return void host.append(make("p", { class: "note" }, "No trial has been measured yet."));
  const panels = make("div", { class: "panels" });
  host.append(panels);
  const history = panel("One trial after the other");
  panels.append(history);
  pressed(
    makeChart(
      history,
      "The mAP of the trials in their order, with the best so far",
      (colours) => tunedHistory(colours, measured),
      300,
    ),
  );
  if (study.importances.length) panels.append(importancePanel(panel("What the mAP depends on"), study));
  if (study.weighsCost && measured.some((trial) => trial.cost !== null)) {
    const front = panel("Accuracy against cost");
    panels.append(front);
    pressed(
      makeChart(
        front,
        "The mAP of the trials against their MACs, with the front",
        (colours) => tunedFront(colours, measured),
        300,
      ),
    );
  }
  if (study.axes.length) {
    const lines = panel("All parameters");
    host.append(
      make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Parallel coordinates" }, lines),
    );
    lines.style.minWidth = `${110 * (study.axes.length + 1)}px`;
    makeChart(
      lines,
      "Parallel coordinates: a line for each trial from its parameters to its mAP",
      (colours) => tunedParallel(colours, study, measured),
      340,
    );
  }
  const { field } = makeSelect(
    "Trial",
    study.trials.map((trial) => [
      trial.number,
      `${trial.number}: ${trial.mAP === null ? trial.state : percent(trial.mAP)}`,
    ]),
    (number) => choose(Number(number)),
  );
  const best = measured.reduce((top, trial) => (trial.mAP > top.mAP ? trial : top));
  field.querySelector("select").value = best.number;
  host.append(make("div", { class: "controls" }, field), shown);
  choose(best.number);
}

function trialFacts(trial) {
  return [
    ["state", trial.state + (trial.best ? ", best" : "")],
    ["mAP", percent(trial.mAP)],
    ["MACs", macs(trial.cost)],
    ["epochs", trial.epochs],
    ["minutes", trial.minutes === null ? null : number(trial.minutes)],
    ["why", trial.why],
  ].filter(([, value]) => value !== null && value !== "–");
}

function plainParams(trial) {
  return Object.entries(trial.params)
    .filter(([name]) => !trial.decisions || !/[.](\d+)(<\d+|[.]inputs)?$/.test(name))
    .map(([name, value]) => [name, typeof value === "number" ? number(value, 4) : String(value)]);
}

function showTuned(host, trial) {
  const rows = [...trialFacts(trial), ["worker", trial.worker], ...plainParams(trial)].filter(
    ([, value]) => value !== null,
  );
  host.replaceChildren(
    make("h4", {}, `Trial ${trial.number}`),
    decisionList(
      rows.map(([name, value]) => [name, String(value)]),
      null,
    ),
    ...(trial.decisions ? architecturePictures(trial.decisions) : []),
  );
}

function tunedTip(trials) {
  return ({ data }) => {
    const trial = trials.find((each) => each.number === data?.number);
    return trial
      ? tipTable(
          `Trial ${trial.number}`,
          [...trialFacts(trial), ...plainParams(trial)].slice(0, 14).map(([name, value]) => ["", name, String(value)]),
        )
      : "";
  };
}

function point(trial, value) {
  return { number: trial.number, value };
}

function tunedHistory(colours, trials) {
  let best = -Infinity;
  const steps = trials
    .map((trial) => [trial.number, 100 * (best = trial.state === "complete" ? Math.max(best, trial.mAP) : best)])
    .filter(([, value]) => Number.isFinite(value));
  const pruned = trials.filter((trial) => trial.state === "pruned");
  return {
    legend: { ...legend(colours, ["complete", ...(pruned.length ? ["pruned"] : []), "best so far"]), show: true },
    grid: { left: 26, right: 18, top: 34, bottom: 24, containLabel: true },
    xAxis: axis(colours, "trial", {
      type: "value",
      minInterval: 1,
      min: -0.5,
      max: Math.max(...trials.map((trial) => trial.number)) + 0.5,
      axisLabel: {
        color: colours.muted,
        fontSize: 11,
        formatter: (value) => (Number.isInteger(value) ? String(value) : ""),
      },
    }),
    yAxis: axis(colours, "mAP (%)", { type: "value", scale: true, nameGap: 34 }),
    tooltip: tooltip(colours, tunedTip(trials)),
    series: [
      {
        name: "complete",
        type: "scatter",
        data: trials
          .filter((trial) => trial.state !== "pruned")
          .map((trial) => point(trial, [trial.number, 100 * trial.mAP])),
        symbolSize: 9,
        itemStyle: { color: shade("#0072b2") },
      },
      {
        name: "pruned",
        type: "scatter",
        data: pruned.map((trial) => point(trial, [trial.number, 100 * trial.mAP])),
        symbolSize: 9,
        itemStyle: { color: "transparent", borderColor: colours.muted, borderWidth: 1.6 },
      },
      {
        name: "best so far",
        type: "line",
        step: "end",
        data: steps,
        symbol: "none",
        lineStyle: { color: "#d55e00", width: 2 },
        itemStyle: { color: "#d55e00" },
      },
    ],
  };
}

function importancePanel(host, study) {
  const bars = [...study.importances].reverse();
  makeChart(
    host,
    "The share of each parameter in how the mAP varies",
    (colours) => ({
      grid: { left: 124, right: 40, top: 8, bottom: 44 },
      xAxis: axis(colours, "importance", { type: "value", min: 0 }),
      yAxis: axis(colours, "", {
        type: "category",
        data: bars.map(([name]) => name),
        splitLine: { show: false },
        axisLabel: { color: colours.ink, fontSize: 11, width: 112, overflow: "truncate" },
      }),
      tooltip: tooltip(colours, ({ dataIndex }) =>
        tipTable(bars[dataIndex][0], [["", "importance", number(bars[dataIndex][1], 2)]]),
      ),
      series: [
        {
          type: "bar",
          data: bars.map(([, share]) => share),
          itemStyle: { color: shade("#0072b2") },
          label: {
            show: true,
            position: "right",
            color: colours.ink,
            fontSize: 11,
            formatter: ({ value }) => number(value, 2),
          },
        },
      ],
    }),
    70 + 26 * bars.length,
  );
  return host;
}

function tunedFront(colours, trials) {
  const costed = trials.filter((trial) => trial.cost !== null && trial.state !== "pruned");
  const front = costed.filter((trial) => trial.best).sort((a, b) => a.cost - b.cost);
  return {
    legend: { ...legend(colours, ["trials", "front"]), show: true },
    grid: { left: 26, right: 18, top: 34, bottom: 24, containLabel: true },
    xAxis: axis(colours, "MACs (M)", { type: "value", scale: true }),
    yAxis: axis(colours, "mAP (%)", { type: "value", scale: true, nameGap: 34 }),
    tooltip: tooltip(colours, tunedTip(trials)),
    series: [
      {
        name: "trials",
        type: "scatter",
        data: costed.map((trial) => point(trial, [trial.cost / 1e6, 100 * trial.mAP])),
        symbolSize: 9,
        itemStyle: { color: shade("#0072b2") },
      },
      {
        name: "front",
        type: "line",
        data: front.map((trial) => [trial.cost / 1e6, 100 * trial.mAP]),
        symbol: "none",
        lineStyle: { color: "#d55e00", width: 2 },
        itemStyle: { color: "#d55e00" },
      },
    ],
  };
}

function tunedParallel(colours, study, trials) {
  const complete = trials.filter((trial) => trial.state === "complete");
  const mAPs = complete.map((trial) => 100 * trial.mAP);
  const dimensions = [...study.axes, { name: "mAP (%)" }];
  return {
    parallel: {
      left: 62,
      right: 50,
      top: 50,
      bottom: 24,
      parallelAxisDefault: {
        nameTextStyle: { color: colours.ink, fontSize: 11, width: 105, overflow: "truncate" },
        axisLine: { lineStyle: { color: colours.line } },
        axisLabel: { color: colours.ink, fontSize: 10, textBorderColor: colours.panel, textBorderWidth: 3 },
      },
    },
    parallelAxis: dimensions.map(({ name, log, words }, dim) => ({
      dim,
      name,
      type: words ? "category" : log ? "log" : "value",
      data: words,
      scale: true,
    })),
    visualMap: {
      show: false,
      dimension: study.axes.length,
      min: Math.min(...mAPs),
      max: Math.max(...mAPs),
      inRange: { color: ["#8d939c", "#e69f00", "#d55e00"] },
    },
    tooltip: tooltip(colours, ({ data }) => tunedTip(trials)({ data })),
    series: [
      {
        type: "parallel",
        lineStyle: { width: 2, opacity: 0.8 },
        data: complete.map((trial) => ({
          number: trial.number,
          value: [...study.axes.map(({ name }) => trial.params[name] ?? null), 100 * trial.mAP],
        })),
      },
    ],
  };
}

// {seeds, arms: [{name, mean, values: {seed: mAP}}], contrasts: [{name, primary, pairs, mean, interval, joint, p}]}
function armsView(host, found) {
  const pairs = make(
    "div",
    { class: "panel" },
    make("h4", {}, "Runs: a line joins those of one seed, the bar is the mean"),
  );
  host.classList.add("panels");
  host.append(pairs);
  makeChart(pairs, "The mAP of every run, a column for each arm", (colours) => armsOption(colours, found), 330);
  if (!found.contrasts.length) return;
  const contrasts = make("div", { class: "panel" }, make("h4", {}, "Paired differences, with their intervals"));
  host.append(contrasts);
  makeChart(
    contrasts,
    "Mean differences in mAP with their 95 % intervals",
    (colours) => contrastsOption(colours, found.contrasts),
    90 + 46 * found.contrasts.length,
  );
}

function armsOption(colours, { seeds, arms }) {
  const names = arms.map((arm) => arm.name);
  return {
    grid: { left: 26, right: 12, top: 12, bottom: 8, containLabel: true },
    xAxis: axis(colours, "", {
      type: "category",
      data: names,
      axisLabel: { color: colours.ink, fontSize: 11, interval: 0, width: 100, overflow: "break", lineHeight: 14 },
      splitLine: { show: false },
    }),
    yAxis: axis(colours, "mAP (%)", { type: "value", scale: true, nameGap: 34 }),
    tooltip: tooltip(colours, ({ seriesName, data }) =>
      tipTable(data.arm ?? seriesName, [["", data.says ?? "", number(data.value?.[1], 3)]]),
    ),
    series: [
      ...seeds.map((seed) => ({
        type: "line",
        silent: true,
        symbol: "none",
        data: arms.map((arm) => [arm.name, arm.values[seed] ?? null]),
        lineStyle: { color: colours.muted, width: 1, opacity: 0.5 },
      })),
      ...arms.map((arm, place) => ({
        type: "scatter",
        symbolSize: 9,
        data: Object.entries(arm.values).map(([seed, value]) => ({
          value: [arm.name, value],
          arm: arm.name,
          says: `seed ${seed}`,
        })),
        itemStyle: { color: shade(SERIES_COLOURS[place % SERIES_COLOURS.length]) },
      })),
      ...arms.map((arm, place) => ({
        type: "scatter",
        symbol: "rect",
        symbolSize: [34, 4],
        data: [{ value: [arm.name, arm.mean], arm: arm.name, says: "mean" }],
        itemStyle: { color: shade(SERIES_COLOURS[place % SERIES_COLOURS.length]) },
      })),
    ],
  };
}

function contrastsOption(colours, contrasts) {
  const shown = [...contrasts].reverse();
  const colour = ({ primary }) => shade(primary ? "#d55e00" : "#0072b2");
  const words = ({ mean, interval, joint, pairs, p }) =>
    [
      ["mean", mean],
      ["over seeds", interval?.join(" to ")],
      ["over seeds and identities", joint?.join(" to ")],
      ["pairs", pairs],
      ["p (Holm)", p],
    ]
      .filter(([, value]) => value !== null && value !== undefined)
      .map(([name, value]) => ["", name, String(value)]);
  const bar = (key, width) =>
    shown
      .filter((each) => each[key])
      .map((each) => ({
        type: "line",
        symbol: "none",
        name: each.name,
        silent: true,
        data: each[key].map((end) => [end, each.name]),
        lineStyle: { color: colour(each), width },
      }));
  return {
    grid: { left: 8, right: 18, top: 12, bottom: 24, containLabel: true },
    xAxis: axis(colours, "difference in mAP (points)", { type: "value" }),
    yAxis: axis(colours, "", {
      type: "category",
      data: shown.map((each) => each.name),
      splitLine: { show: false },
      axisLabel: { color: colours.ink, fontSize: 11, width: 130, overflow: "break", lineHeight: 14 },
    }),
    tooltip: tooltip(colours, ({ data }) => tipTable(data.of.name, words(data.of))),
    series: [
      ...bar("joint", 1.5),
      ...bar("interval", 4),
      {
        type: "scatter",
        symbolSize: 13,
        data: shown.map((each) => ({ value: [each.mean, each.name], of: each, itemStyle: { color: colour(each) } })),
        markLine: {
          silent: true,
          symbol: "none",
          label: { show: false },
          lineStyle: { color: colours.muted, type: "solid" },
          data: [{ xAxis: 0 }],
        },
      },
    ],
  };
}
