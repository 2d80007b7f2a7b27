// Click a heading to sort by it, inside each scenario; the start model stays on top.
function leaderboards() {
  document.querySelectorAll("table.leaderboard").forEach((table, at) => {
    table.querySelectorAll("thead th:not(.drawing)").forEach((head) => {
      const column = [...head.parentNode.children].indexOf(head);
      const button = element("button", { type: "button", title: "sort" });
      button.append(...head.childNodes);
      button.addEventListener("click", () => {
        const [before, down] = state.sort[at] || [];
        state.sort[at] = [column, before === column ? !down : column > 0];
        save();
        sort(table, ...state.sort[at]);
      });
      head.append(button);
    });
    if (state.sort[at]) sort(table, ...state.sort[at]);
  });
}

function sort(table, column, down) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", down ? "descending" : "ascending");
  const value = (row) => {
    const cell = row.cells[column];
    return column ? Number(cell.dataset.value ?? NaN) : cell.textContent;
  };
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter((row) => !row.matches(".scenario, .start"));
    rows.sort((one, other) => {
      const [a, b] = [value(one), value(other)];
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
      const order = column ? a - b : a.localeCompare(b, "en", { numeric: true });
      return down ? -order : order;
    });
    body.append(...rows);
  }
}
