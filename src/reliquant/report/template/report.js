// Tables sort and filter where JavaScript runs; without it they are plain tables.
const drawn = [];
const source = document.getElementById("datatables").textContent;
const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
import(address).then(({ default: DataTable }) => {
  URL.revokeObjectURL(address);
  for (const table of document.querySelectorAll("table.sortable")) {
    const many = table.tBodies[0].rows.length > 20;
    drawn.push(new DataTable(table, {
      order: [], paging: many, pageLength: 15, lengthMenu: [15, 50, 200, { label: "all", value: -1 }],
      autoWidth: false, info: many, columnControl: [["orderAsc", "orderDesc", "search"]],
    }));
  }
  document.documentElement.dataset.tables = "ready";
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && location.hash.startsWith("#large-")) location.hash = "#" + location.hash.slice(7);
});
// A printed table is whole.
addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((d) => { d.open = true; });
  drawn.forEach((table) => table.page.len(-1).draw());
});

// A click on a number shows the rows behind it; without JavaScript, or with too many rows, its link leads to their file.
const held = document.getElementById("rows");
const { columns, rows } = held ? JSON.parse(held.textContent) : { columns: [], rows: [] };
const dialog = document.getElementById("behind");
const SHOWN = 200;
function fits(value, wanted) {
  return [wanted].flat().some((word) => {
    if (typeof word !== "string" || !word.includes("*")) return String(value) === String(word);
    const [start, end] = word.split("*");
    return value.startsWith(start) && value.endsWith(end);
  });
}
function cells(tag, words) {
  const line = document.createElement("tr");
  for (const word of words) {
    const cell = line.appendChild(document.createElement(tag));
    cell.textContent = word ?? "";
    if (typeof word === "number") cell.className = "number";
  }
  return line;
}
document.addEventListener("click", (event) => {
  const link = event.target.closest("a.behind");
  if (!link || !rows.length) return;
  const asked = Object.entries(JSON.parse(link.dataset.where)).filter(([name]) => columns.includes(name));
  const at = asked.map(([name, wanted]) => [columns.indexOf(name), wanted]);
  const found = rows.filter((row) => at.every(([i, wanted]) => fits(row[i], wanted)));
  if (!found.length) return;
  event.preventDefault();
  dialog.querySelector(".read").textContent =
    `${found.length} rows${found.length > SHOWN ? `, the first ${SHOWN} shown` : ""}: ` +
    asked.map(([name, wanted]) => `${name} = ${[wanted].flat().join(", ")}`).join("; ");
  dialog.querySelector("thead").replaceChildren(cells("th", columns));
  dialog.querySelector("tbody").replaceChildren(...found.slice(0, SHOWN).map((row) => cells("td", row)));
  dialog.querySelector(".files a").href = link.href;
  dialog.showModal();
});
