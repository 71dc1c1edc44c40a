"use strict";
// Tables sort by the buttons in their heads, and what overflows can be reached by keyboard.
const keyOf = (row, at) => {
  const cell = row.cells[at];
  const key = cell.dataset.sort ?? cell.firstChild?.textContent.trim() ?? "";
  const value = Number(key);
  return key === "" ? null : Number.isNaN(value) ? key : value;
};
const compare = (a, b) =>
  typeof a === "number" && typeof b === "number"
    ? a - b
    : String(a).localeCompare(String(b), "en", { numeric: true });
const sortBy = (table, at, sign) => {
  const body = table.tBodies[0];
  const keyed = [...body.rows].map((row, place) => ({ row, place, key: keyOf(row, at) }));
  keyed.sort((a, b) => {
    if (a.key === null || b.key === null) {
      return (a.key === null) - (b.key === null) || a.place - b.place;
    }
    return sign * compare(a.key, b.key) || a.place - b.place;
  });
  body.append(...keyed.map((item) => item.row));
};
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const isFirst = head.classList.contains("number") ? "descending" : "ascending";
      const isOther = isFirst === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === isFirst ? isOther : isFirst;
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", order);
      sortBy(table, at, order === "ascending" ? 1 : -1);
    });
  });
}
const reach = () => {
  for (const box of document.querySelectorAll(".scroll")) {
    const isLarger = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
    if (isLarger) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
};
reach();
addEventListener("resize", reach);
document.addEventListener("toggle", reach, true);
