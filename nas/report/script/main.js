// Draws every `<div data-view="..." data-key="...">` of the page from the data of its key.

const DATA = JSON.parse(document.getElementById("data").textContent);

const VIEWS = {
  lines: linesView,
  panels: panelsView,
  costs: costsView,
  search: searchView,
  trials: trialsView,
  ranked: rankedView,
  queries: queriesView,
  distances: distancesView,
  cameras: camerasView,
  tsne: planeView,
  runs: runsView,
  status: statusView,
  log: logView,
  rows: rowsView,
  overlaid: overlaidView,
  study: studyView,
  arms: armsView,
};

function markSection(entries) {
  for (const { isIntersecting, target } of entries) {
    const link = document.querySelector(`.contents a[href="#${CSS.escape(target.id)}"]`);
    if (isIntersecting && link) {
      document.querySelectorAll(".contents a[aria-current]").forEach((each) => each.removeAttribute("aria-current"));
      link.setAttribute("aria-current", "true");
    }
  }
}

function drawView(host) {
  if (DATA[host.dataset.key]) VIEWS[host.dataset.view](host, DATA[host.dataset.key]);
}

async function unpacked({ gzip }) {
  const bytes = Uint8Array.from(atob(gzip), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

async function drawPage() {
  for (const [key, value] of Object.entries(DATA)) if (value.gzip) DATA[key] = await unpacked(value);
  for (const host of document.querySelectorAll("[data-view]")) {
    try {
      drawView(host);
    } catch (error) {
      reportError(error); // the other views are drawn all the same
    }
  }
  document.documentElement.dataset.drawn = "";
  if (DATA.live) follow(DATA.live.events);
}

drawPage();
document.querySelectorAll("table.sortable").forEach(makeSortable);
const sections = new IntersectionObserver(markSection, { rootMargin: "-20% 0px -70% 0px" });
document.querySelectorAll("section[id]").forEach((section) => sections.observe(section));
