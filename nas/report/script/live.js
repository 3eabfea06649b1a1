// Pages that follow runs: what has changed since comes from the server as JSON, by the names of the page's data.

function follow(address) {
  const source = new EventSource(address);
  const gone = make(
    "p",
    { class: "gone", role: "status", hidden: true },
    "The server has ended; this is what it said last.",
  );
  document.querySelector("header").append(gone);
  source.addEventListener("open", () => {
    gone.hidden = true;
  });
  source.addEventListener("error", () => {
    gone.hidden = false;
  });
  source.addEventListener("message", (event) => {
    for (const [key, value] of Object.entries(JSON.parse(event.data))) takeNew(key, value);
  });
}

// Draws again what shows `key`; what waits for it to be there is shown.
function takeNew(key, value) {
  DATA[key] = value;
  for (const element of document.querySelectorAll(`[data-shown-with~="${CSS.escape(key)}"]`)) element.hidden = false;
  for (const host of document.querySelectorAll(`[data-key="${CSS.escape(key)}"]`)) {
    const restore = chosenIn(host);
    host.replaceChildren();
    for (const chart of charts) if (!chart.box.isConnected) forget(chart);
    drawView(host);
    restore();
  }
}

function forget(chart) {
  chart.instance?.dispose();
  charts.delete(chart);
  waiting.delete(chart.box);
  seen.unobserve(chart.box);
}

const FIELDS = "select, input, button, a, [tabindex]";

// What a reader has chosen in a view, as a function that chooses it again; an epoch at the end stays at the end.
function chosenIn(host) {
  const focused = [...host.querySelectorAll(FIELDS)].indexOf(document.activeElement);
  const values = [...host.querySelectorAll("select, input")].map((field) =>
    field.type === "range" && field.value === field.max ? null : field.value,
  );
  const edge = host.querySelector("[data-edge].chosen")?.dataset.edge;
  const sorted = [...host.querySelectorAll("th")].findIndex((head) => head.hasAttribute("aria-sort"));
  const order = host.querySelector("[aria-sort]")?.getAttribute("aria-sort");
  const scrolled = host.querySelector(".log");
  const place =
    scrolled && scrolled.scrollTop + scrolled.clientHeight < scrolled.scrollHeight - 4 ? scrolled.scrollTop : null;
  return () => {
    host.querySelectorAll("select, input").forEach((field, number) => {
      if (values[number] === null || values[number] === undefined) return;
      field.value = values[number];
      field.dispatchEvent(new Event(field.tagName === "SELECT" ? "change" : "input"));
    });
    if (edge) host.querySelector(`[data-edge="${CSS.escape(edge)}"]`)?.dispatchEvent(new Event("focus"));
    const button = host.querySelectorAll("th")[sorted]?.querySelector("button");
    for (
      let presses = 0;
      button && presses < 2 && button.parentElement.getAttribute("aria-sort") !== order;
      presses += 1
    )
      button.click();
    if (focused >= 0) host.querySelectorAll(FIELDS)[focused]?.focus({ preventScroll: true });
    if (place !== null) host.querySelector(".log").scrollTop = place;
  };
}

function stateOfRun({ state, where, why }) {
  return [
    make("span", { class: `state ${state}` }, state),
    where ? make("span", { class: "where" }, ` ${where}`) : null,
    why ? make("div", { class: "why" }, why) : null,
  ];
}

// {title, state, where, why, stages: [{name, done, planned, ended, unit}], workers: [text], note}
function statusView(host, status) {
  const stages = status.stages.map((stage) =>
    make(
      "li",
      {},
      make("strong", {}, stage.name),
      stage.planned
        ? make("progress", {
            max: stage.planned,
            value: stage.ended ? stage.planned : stage.done,
            "aria-label": stage.name,
          })
        : null,
      make(
        "span",
        {},
        stage.ended && !stage.done
          ? "done"
          : `${stage.done} of ${stage.planned || "?"} ${stage.unit}${stage.ended ? ", done" : ""}`,
      ),
    ),
  );
  const lines = [...status.workers, status.note].filter(Boolean).map((text) => make("p", { class: "note" }, text));
  host.append(
    make("p", { class: "finding", "aria-live": "polite" }, ...stateOfRun(status)),
    make("ul", { class: "stages" }, ...stages),
    ...lines,
  );
  document.title = `${{ running: "▶ ", failed: "✕ ", damaged: "✕ " }[status.state] ?? ""}${status.title}`;
}

function logView(host, text) {
  const box = make("pre", { class: "log", tabindex: 0, role: "log", "aria-label": "Log" }, text);
  host.append(box);
  box.scrollTop = box.scrollHeight;
}

const RUN_COLUMNS = ["run", "state", "mAP", "rank-1", "MACs", "ms", "age", "recipe", "data"];
const TEXTS = ["run", "state", "recipe", "data"];

// {count, rows: [{name, recipe, data, state, where, why, link, cells: [{text, value, title}]}]}
function runsView(host, { count: words, rows }) {
  const body = make("tbody", {}, ...rows.map(rowOfRun));
  const table = make(
    "table",
    { class: "results runs" },
    make(
      "thead",
      {},
      make(
        "tr",
        {},
        ...RUN_COLUMNS.map((head) => make("th", { scope: "col", class: TEXTS.includes(head) ? "text" : null }, head)),
      ),
    ),
    body,
  );
  const said = make("output", {}, words);
  const filter = make("input", {
    type: "search",
    input: () => (said.textContent = filtered(body, filter.value, words)),
  });
  host.append(
    make("div", { class: "controls" }, make("label", { class: "field" }, make("span", {}, "Filter"), filter), said),
    make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Runs" }, table),
  );
  makeSortable(table);
}

function rowOfRun(row) {
  const name = row.link ? make("a", { href: row.link }, row.name) : row.name;
  const text = (...words) => make("td", { class: "text" }, ...words);
  const numbers = row.cells.map(({ text: said, value, title }) =>
    make("td", { class: "number", "data-value": value ?? "", title }, said),
  );
  return make(
    "tr",
    {},
    make("th", { scope: "row" }, name),
    text(...stateOfRun(row)),
    ...numbers,
    text(row.recipe),
    text(row.data),
  );
}

// Rows with all of the words stay.
function filtered(body, asked, words) {
  const needed = asked.toLowerCase().split(/\s+/);
  let shown = 0;
  for (const row of body.rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !needed.every((word) => text.includes(word));
    shown += !row.hidden;
  }
  return asked.trim() ? `${shown} of ${body.rows.length}` : words;
}

// {label, columns, rows: [[text]]}
function rowsView(host, { label, columns, rows }) {
  if (!rows.length) return void host.append(make("p", { class: "note" }, "Nobody."));
  const table = make(
    "table",
    { class: "results" },
    make("thead", {}, make("tr", {}, ...columns.map((head) => make("th", { scope: "col", class: "text" }, head)))),
    make(
      "tbody",
      {},
      ...rows.map(([first, ...others]) =>
        make(
          "tr",
          {},
          make("th", { scope: "row" }, first),
          ...others.map((text) => make("td", { class: "text" }, text)),
        ),
      ),
    ),
  );
  host.append(make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, table));
}
