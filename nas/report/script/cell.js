// Cells drawn as graphs whose states stand where they are in every picture, whatever the edges between them.

const CELL = { width: 760, height: 330, margin: 34, radius: 17 };
const HEIGHTS = [0.06, 0.94, 0.3, 0.72]; // of the nodes, so that no edge runs through a third one

const MOST_NODES = 50;

// Where the states of a cell with so many nodes stand: the two inputs, the nodes, the output.
function cellPlaces(numNodes) {
  if (numNodes > MOST_NODES) throw new Error(`a cell of ${numNodes} nodes is too large to be drawn`);
  const across = (step) => CELL.margin + (step / (numNodes + 1)) * (CELL.width - 2 * CELL.margin);
  const down = (share) => CELL.margin + share * (CELL.height - 2 * CELL.margin);
  const places = [
    [across(0), down(0.33)],
    [across(0), down(0.67)],
  ];
  for (let node = 0; node < numNodes; node += 1) places.push([across(node + 1), down(HEIGHTS[node % HEIGHTS.length])]);
  return { states: places, output: [across(numNodes + 1), down(0.5)] };
}

// The path from one state to another: straight, and bent where several edges join the same two (`lane` 1, 2, ...).
function edgePath([x1, y1], [x2, y2], lane = 0) {
  const length = Math.hypot(x2 - x1, y2 - y1) || 1;
  const [dx, dy] = [(x2 - x1) / length, (y2 - y1) / length];
  const [startX, startY] = [x1 + dx * CELL.radius, y1 + dy * CELL.radius];
  const [endX, endY] = [x2 - dx * (CELL.radius + 6), y2 - dy * (CELL.radius + 6)];
  const bend = 70 * lane;
  const [midX, midY] = [(x1 + x2) / 2 - dy * bend, (y1 + y2) / 2 + dx * bend];
  return {
    d: `M${startX} ${startY}Q${midX} ${midY} ${endX} ${endY}`,
    at: (t) => onCurve([startX, startY], [midX, midY], [endX, endY], t),
  };
}

function onCurve(start, middle, end, t) {
  return [0, 1].map((i) => (1 - t) ** 2 * start[i] + 2 * t * (1 - t) * middle[i] + t ** 2 * end[i]);
}

// An <svg> with the states of a cell and the lines into its output; edges go into `edges`, their words into `labels`.
function makeCell(numNodes, label, small = false) {
  const places = cellPlaces(numNodes);
  const edges = makeSvg("g", { class: "edges" });
  const labels = makeSvg("g", { class: "labels" });
  const states = makeSvg("g", { class: "states" });
  const outputs = places.states
    .slice(2)
    .map((place) => makeSvg("path", { class: "to-output", d: edgePath(place, places.output).d }));
  places.states.forEach((place, state) =>
    states.append(...stateOf(place, String(state), state < 2 ? "input" : "node")),
  );
  states.append(...stateOf(places.output, "out", "output"));
  const svg = makeSvg(
    "svg",
    {
      class: small ? "cell small" : "cell",
      viewBox: `0 0 ${CELL.width} ${CELL.height}`,
      role: small ? "img" : "group",
      "aria-label": label,
    },
    ...outputs,
    edges,
    states,
    labels,
  );
  const taken = [...places.states, places.output].map(([x, y]) => ({ x, y, reach: CELL.radius, height: CELL.radius }));
  return {
    svg,
    edges,
    labels,
    places: places.states,
    name: (path, words) => labels.append(edgeLabel(path, words, taken)),
  };
}

function stateOf([x, y], name, kind) {
  return [makeSvg("circle", { class: kind, cx: x, cy: y, r: CELL.radius }), makeSvg("text", { x, y: y + 4.5 }, name)];
}

// The arrow head at the end of a path, of a size that suits its width.
function arrowHead(path, width, colour) {
  const [[x1, y1], [x2, y2]] = [path.at(0.96), path.at(1)];
  const angle = (Math.atan2(y2 - y1, x2 - x1) * 180) / Math.PI;
  const size = 4 + width;
  return makeSvg("path", {
    d: `M0 ${-size / 1.6}L${size * 1.4} 0L0 ${size / 1.6}Z`,
    fill: colour,
    transform: `translate(${x2} ${y2}) rotate(${angle})`,
  });
}

// {cell name: [[operation, from, to], ...]} of an architecture's decisions; other decisions under "".
function cellsOf(decisions) {
  const cells = { "": [] };
  for (const [name, value] of Object.entries(decisions)) {
    const [, cell, node] = /^(.+)\.(\d+)$/.exec(name) ?? [];
    const edges = Array.isArray(value) ? value.map((each) => /^(.+)@(\d+)$/.exec(each)) : [null];
    if (cell && Number(node) >= 2 && edges.every(Boolean))
      (cells[cell] ??= []).push(...edges.map((edge) => [edge[1], Number(edge[2]), Number(node)]));
    else cells[""].push([name, Array.isArray(value) ? value.join(", ") : String(value)]);
  }
  return cells;
}

// A whole cell with its operations; `others` are the same cell's edges of another architecture, from which it differs.
function drawnCell(name, edges, { small = false, others = null } = {}) {
  const words = edges.map(([key, from, to]) => `${from} to ${to} ${operation(key).name}`).join("; ");
  const cell = makeCell(Math.max(...edges.map(([, , to]) => to)) - 1, `${name} cell: ${words}`, small);
  const lanes = new Map();
  const known = new Set((others ?? []).map(String));
  for (const [key, from, to] of edges) {
    const lane = lanes.get(`${from} ${to}`) ?? 0;
    lanes.set(`${from} ${to}`, lane + 1);
    const differs = others !== null && !known.has(String([key, from, to]));
    drawOperation(cell, { key, from, to, lane, width: small ? 7 : 2.6, differs, worded: !small });
  }
  return cell.svg;
}

function drawOperation(cell, { key, from, to, lane, width, differs, worded }) {
  const { name, colour } = operation(key);
  const path = edgePath(cell.places[from], cell.places[to], lane);
  if (differs) cell.edges.append(makeSvg("path", { class: "differs", d: path.d, "stroke-width": width + 8 }));
  cell.edges.append(
    makeSvg("path", { d: path.d, fill: "none", stroke: colour, "stroke-width": width }),
    arrowHead(path, width, colour),
  );
  if (worded) cell.name(path, differs ? `${name} (differs)` : name);
}

const ALONG = [0.5, 0.4, 0.6, 0.32, 0.68, 0.25, 0.75];

// Words on a line, where they cover the least of what is `taken` by states and other words.
function edgeLabel(path, words, taken) {
  const box = (t) => ({ x: path.at(t)[0], y: path.at(t)[1], reach: 3.4 * words.length, height: 8 });
  const covered = (one) => taken.reduce((sum, other) => sum + overlap(one, other), 0);
  const boxes = ALONG.map(box);
  const best = boxes.reduce((least, each) => (covered(each) < covered(least) ? each : least));
  taken.push(best);
  return makeSvg("text", { x: best.x, y: best.y + 4, class: "edge-label" }, words);
}

function overlap(one, other) {
  const across = one.reach + other.reach - Math.abs(one.x - other.x);
  const down = one.height + other.height - Math.abs(one.y - other.y);
  return across > 0 && down > 0 ? across * down : 0;
}
