// Elements, numbers and colours, which every view is made with. What comes from the data enters a page as text alone.

function make(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function makeSvg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

// Attributes that are functions listen to the event of their name; null and false leave an attribute out.
function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false)
      element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// A labelled <select> of [value, text] pairs; `chosen` is told of each choice.
function makeSelect(label, options, chosen) {
  const select = make("select", { change: () => chosen(select.value) });
  for (const [value, text] of options) select.append(make("option", { value }, text));
  return { select, field: make("label", { class: "field" }, make("span", {}, label), select) };
}

// A number with so many significant digits, a dash for none.
function number(value, digits = 3) {
  if (typeof value !== "number" || !Number.isFinite(value)) return "–";
  return value !== 0 && Math.abs(value) < 1e-4 ? value.toExponential(1) : String(Number(value.toPrecision(digits)));
}

function percent(share, decimals = 1) {
  return typeof share === "number" && Number.isFinite(share) ? (100 * share).toFixed(decimals) : "–";
}

function count(value) {
  return value.toLocaleString("en");
}

// MACs in the unit that suits them.
function macs(value) {
  if (!value) return value === 0 ? "0" : "–";
  const [size, letter] = value >= 1e9 ? [1e9, "G"] : value >= 1e6 ? [1e6, "M"] : [1e3, "k"];
  return `${(value / size).toFixed(value / size < 100 ? 2 : 0)} ${letter}`;
}

// A colour of the page's style sheet.
function themeColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// The blues of our plots are lighter on a dark page.
function shade(colour) {
  const lighter = { "#0072b2": "blue", "#003f7d": "navy", "#56b4e9": "sky" }[colour];
  return lighter ? themeColour(lighter) : colour;
}

// How a page knows operations: their names and colours; those of others are grey.
function operation(key) {
  const known = (DATA.operations ?? {})[key];
  return { name: known?.name ?? key, colour: shade(known?.colour ?? "#8d939c") };
}

// A small floating box beside the pointer, for what is no chart of ECharts.
const tip = {
  box: null,
  show(content, x, y) {
    if (!this.box) document.body.append((this.box = make("div", { class: "tip", role: "status" })));
    this.box.replaceChildren(content);
    this.box.hidden = false;
    const left = Math.min(x + 14, window.innerWidth - this.box.offsetWidth - 8);
    const top = y + 14 + this.box.offsetHeight > window.innerHeight ? y - this.box.offsetHeight - 10 : y + 14;
    this.box.style.left = `${Math.max(8, left)}px`;
    this.box.style.top = `${Math.max(8, top)}px`;
  },
  hide() {
    if (this.box) this.box.hidden = true;
  },
};

// Rows of [colour or "", name, value] under a title, for a tip or ECharts's tooltip.
function tipTable(title, rows) {
  const lines = rows.map(([colour, name, value]) =>
    make(
      "tr",
      {},
      make("td", {}, colour ? make("i", { style: `background:${colour}` }) : ""),
      make("td", {}, name),
      make("td", {}, value),
    ),
  );
  return make("div", { class: "tip-table" }, make("strong", {}, title), make("table", {}, make("tbody", {}, ...lines)));
}
