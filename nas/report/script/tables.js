// Tables that are sorted by the column whose heading is pressed.

// The number at the start of a cell, of which all in a column have one unit unless `data-value` has it; null for text.
function cellNumber(text) {
  const value = Number.parseFloat(text.replaceAll(",", "").replace("–", "").trim());
  return Number.isNaN(value) ? null : value;
}

function sortRows(body, column, descending) {
  const cells = [...body.rows].map((row) => ({
    row,
    text: row.cells[column].dataset.value ?? row.cells[column].textContent.trim(),
  }));
  const numeric = column > 0 && cells.some(({ text }) => cellNumber(text) !== null);
  const compare = (one, other) => {
    if (!numeric) return one.text.localeCompare(other.text, "en", { numeric: true });
    const [a, b] = [cellNumber(one.text), cellNumber(other.text)];
    if (a === null || b === null) return (a === null) - (b === null); // what is missing comes last either way
    return descending ? b - a : a - b;
  };
  cells.sort(compare);
  if (!numeric && descending) cells.reverse();
  body.append(...cells.map(({ row }) => row));
}

// Headings become buttons; the first press sorts numbers from the largest on, and texts from A on.
function makeSortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  const rows = [...table.tBodies[0].rows];
  heads.forEach((head, column) => {
    if (rows.every((row) => row.cells[column].querySelector("button"))) return; // pictures, which have no order
    const button = make("button", { type: "button", class: "sort" }, ...head.childNodes);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const descending = before ? before === "ascending" : column > 0;
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sortRows(table.tBodies[0], column, descending);
    });
  });
}
