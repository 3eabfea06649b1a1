// Draws every `<div data-view="..." data-key="...">` of the page from the data of its key, once it comes into view.

const DATA = JSON.parse(document.getElementById("data").textContent);

const VIEWS = {
  lines: linesView,
  panels: panelsView,
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

for (const host of document.querySelectorAll("[data-view]")) whenSeen(host, () => drawView(host));
document.querySelectorAll("table.sortable").forEach(makeSortable);
const sections = new IntersectionObserver(markSection, { rootMargin: "-20% 0px -70% 0px" });
document.querySelectorAll("section[id]").forEach((section) => sections.observe(section));
if (DATA.live) follow(DATA.live.events);
