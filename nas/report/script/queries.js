// A browser of all queries: in any order, by identity, camera or file, under each network, with what each found.
// {frames, networks: [{name, ap, first, found [query]: a flat list}], query and gallery: {root, names, ids, cameras,
//  folder}, query.boxes}; `found` has a place in the gallery and a distance for each image, and of frames a similarity,
//  whether it is right, and a box.

const ROWS = 10;
const ORDERS = { worst: "worst first", best: "best first", median: "nearest to the median", file: "as in the file" };

function queriesView(host, queries) {
  const state = {
    order: "worst",
    network: queries.networks.length - 1,
    identity: "",
    camera: "",
    file: "",
    pictured: false,
    mapped: false,
    list: [],
    at: 0,
  };
  const parts = { host, queries, state };
  parts.table = make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Queries" });
  parts.count = make("output", { "aria-live": "polite" });
  parts.shown = make("div", { class: "shown-query" });
  const step = (by) =>
    make("button", { type: "button", click: () => showQuery(parts, state.at + by) }, by < 0 ? "Previous" : "Next");
  host.classList.toggle("frames", queries.frames);
  host.append(
    queryControls(parts),
    parts.table,
    make("div", { class: "controls" }, step(-1), step(1), parts.count),
    parts.shown,
  );
  host.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by && !event.target.closest("input, select")) showQuery(parts, state.at + by);
  });
  listQueries(parts);
}

function queryControls(parts) {
  const { queries, state } = parts;
  const set = (name) => (value) => ((state[name] = value), listQueries(parts));
  const cameras = queries.query.cameras
    ? [...new Set(queries.query.cameras)].sort((a, b) => a - b).map((each) => [each, each])
    : [];
  const network = makeSelect(
    "Judged by",
    queries.networks.map((each, place) => [place, each.name]),
    (place) => set("network")(Number(place)),
  );
  network.select.value = state.network;
  const typed = (name, label, type) =>
    make(
      "label",
      { class: "field" },
      make("span", {}, label),
      make("input", {
        type: "search",
        inputmode: type,
        size: 9,
        input: (event) => set(name)(event.target.value.trim()),
      }),
    );
  const mapped = make(
    "label",
    { class: "field" },
    make("input", {
      type: "checkbox",
      change: (event) => ((state.mapped = event.target.checked), showQuery(parts, state.at)),
    }),
    make("span", {}, `where ${shortName(queries.networks.at(-1).name)} looks`),
  );
  const pictured = make(
    "label",
    { class: "field" },
    make("input", { type: "checkbox", change: (event) => set("pictured")(event.target.checked) }),
    make("span", {}, "with images in the page"),
  );
  return make(
    "div",
    { class: "controls" },
    makeSelect("Order", Object.entries(ORDERS), set("order")).field,
    queries.networks.length > 1 ? network.field : null,
    typed("identity", "Identity", "numeric"),
    cameras.length > 1 ? makeSelect("Camera", [["", "all"], ...cameras], set("camera")).field : null,
    typed("file", "File", "text"),
    Object.keys(pictures("maps")).length ? mapped : null,
    Object.keys(pictures("query")).length < queries.query.names.length ? pictured : null,
  );
}

function pictures(side) {
  return DATA.pictures?.[side] ?? {};
}

// The places of the queries that are asked for, in their order.
function listQueries(parts) {
  const {
    queries: { query, networks },
    state,
  } = parts;
  const ap = networks[state.network].ap;
  const fits = (place) =>
    (!state.identity || String(query.ids[place]) === state.identity) &&
    (state.camera === "" || String(query.cameras[place]) === state.camera) &&
    query.names[place].toLowerCase().includes(state.file.toLowerCase()) &&
    (!state.pictured || query.root + query.names[place] in pictures("query"));
  const list = [...query.names.keys()].filter(fits);
  const answered = list
    .map((place) => ap[place])
    .filter((each) => each !== null)
    .sort((a, b) => a - b);
  const median = answered[Math.floor(answered.length / 2)];
  const key = { worst: (value) => value, best: (value) => -value, median: (value) => Math.abs(value - median) }[
    state.order
  ];
  if (key) list.sort((a, b) => (ap[a] === null) - (ap[b] === null) || key(ap[a]) - key(ap[b]) || a - b);
  state.list = list;
  showQuery(parts, 0);
}

function showQuery(parts, at) {
  const { state } = parts;
  state.at = Math.max(0, Math.min(at, state.list.length - 1));
  parts.count.textContent = state.list.length
    ? `Query ${count(state.at + 1)} of ${count(state.list.length)}`
    : "No query is like that.";
  fillQueryTable(parts);
  parts.shown.replaceChildren(
    ...(state.list.length ? shownQuery(parts.queries, state.list[state.at], state.mapped) : []),
  );
}

// The rows around the chosen query.
function fillQueryTable(parts) {
  const {
    queries: { query, networks },
    state,
  } = parts;
  const start = Math.max(0, Math.min(state.at - ROWS / 2, state.list.length - ROWS));
  const heads = [
    "query",
    "identity",
    ...(query.cameras ? ["camera"] : []),
    ...networks.map((each) => `AP ${shortName(each.name)}`),
  ];
  const rows = state.list.slice(start, start + ROWS).map((place, row) => {
    const chosen = start + row === state.at;
    const open = make(
      "button",
      {
        type: "button",
        class: "link",
        "aria-current": chosen ? "true" : null,
        click: () => chooseRow(parts, start + row),
      },
      query.names[place],
    );
    const numbers = [
      query.ids[place],
      ...(query.cameras ? [query.cameras[place]] : []),
      ...networks.map((each) => percent(each.ap[place])),
    ];
    return make(
      "tr",
      { class: chosen ? "best" : null },
      make("th", { scope: "row" }, open),
      ...numbers.map((each) => make("td", {}, String(each))),
    );
  });
  parts.table.replaceChildren(
    make(
      "table",
      { class: "results query-table" },
      make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
      make("tbody", {}, ...rows),
    ),
  );
}

function chooseRow(parts, at) {
  showQuery(parts, at);
  parts.table.querySelector("[aria-current]").focus();
}

// With `mapped`, images have the activation maps of the last network, as far as there are some of this query.
function shownQuery(queries, place, mapped) {
  const { query, networks } = queries;
  const words = imageFacts(query, place);
  const box = query.boxes?.[place];
  const asked = imageTile(query, "query", place, { caption: [words, query.names[place]], alt: `Query: ${words}`, box });
  const maps = mapped ? (pictures("maps")[query.root + query.names[place]] ?? []) : [];
  const answers = networks.map((network) => {
    const ap =
      network.ap[place] === null
        ? "has no right match"
        : `AP ${percent(network.ap[place])}, ${network.first[place] ? `first right at rank ${count(network.first[place])}` : "nothing right was found"}`;
    return make(
      "div",
      { class: "answers" },
      make("h4", {}, network.name),
      make("p", { class: "note" }, ap),
      make("ol", { class: "tiles-of-images" }, ...foundTiles(queries, network, place)),
    );
  });
  [asked, ...answers.at(-1).querySelectorAll("figure")].forEach((figure, rank) => {
    const image = figure.querySelector("img");
    if (image && maps[rank]) image.src = maps[rank];
  });
  return [make("div", { class: "asked" }, make("h4", {}, "Query"), asked), make("div", {}, ...answers)];
}

function foundTiles(queries, network, place) {
  const stride = queries.frames ? 7 : 2;
  const found = network.found[place] ?? [];
  return Array.from({ length: found.length / stride }, (_, rank) => {
    const [image, distance, verdict, ...box] = found.slice(rank * stride, (rank + 1) * stride);
    const { gallery, query } = queries;
    const right = queries.frames ? verdict === 1 : gallery.ids[image] === query.ids[place];
    const facts = imageFacts(gallery, image);
    const measure = `${rank + 1}: ${queries.frames ? "similarity " : ""}${number(distance)}`;
    const alt = `Rank ${rank + 1}: ${right ? "right" : "wrong"}, ${facts}`;
    return make(
      "li",
      { class: right ? "right" : "wrong" },
      imageTile(gallery, "gallery", image, {
        caption: [measure, facts, gallery.names[image]],
        alt,
        box: box.length ? box : null,
      }),
    );
  });
}

function imageFacts(side, place) {
  const [identity, camera] = [side.ids[place], side.cameras?.[place] ?? null];
  return [identity === null ? "" : `id ${identity}`, camera === null ? "" : `cam ${camera}`].filter(Boolean).join(", ");
}

// An image from the page or from beside it, else its name alone; with its box, and what is known of it below.
function imageTile(side, kind, place, { caption, alt, box }) {
  const name = side.names[place];
  const picture = pictures(kind)[side.root + name];
  const link = side.folder === null ? null : side.folder + name.split("/").map(encodeURIComponent).join("/");
  const frame = make("span", { class: "image" }, make("span", { class: "none" }, "not in this page"));
  if (picture || link) {
    const img = make("img", {
      alt,
      loading: picture ? null : "lazy",
      error: () => frame.replaceChildren(make("span", { class: "none" }, "not here")),
    });
    img.src = picture?.source ?? link;
    frame.replaceChildren(img);
    if (box) markBox(frame, img, box, picture?.size);
  }
  const opened = link ? make("a", { href: link, target: "_blank", rel: "noopener" }, frame) : frame;
  return make(
    "figure",
    {},
    opened,
    make("figcaption", {}, ...caption.filter(Boolean).map((text) => make("span", { title: text }, text))),
  );
}

// A box `(x1, y1, x2, y2)` in the pixels of the whole image, in percent of the picture that shows it.
function markBox(frame, img, [x1, y1, x2, y2], size) {
  const mark = () => {
    const [width, height] = size ?? [img.naturalWidth, img.naturalHeight];
    const style = `left:${(100 * x1) / width}%;top:${(100 * y1) / height}%;width:${(100 * (x2 - x1)) / width}%;height:${(100 * (y2 - y1)) / height}%`;
    frame.append(make("span", { class: "box", style }));
  };
  if (size) mark();
  else img.addEventListener("load", mark);
}
