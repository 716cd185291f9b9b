// Tables sort and filter where JavaScript runs; without it they are plain tables.
const source = document.getElementById("datatables").textContent;
const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
import(address).then(({ default: DataTable }) => {
  URL.revokeObjectURL(address);
  for (const table of document.querySelectorAll("table.sortable")) {
    const many = table.tBodies[0].rows.length > 20;
    new DataTable(table, {
      order: [], paging: many, pageLength: 15, lengthMenu: [15, 50, 200, { label: "all", value: -1 }],
      autoWidth: false, info: many, columnControl: [["orderAsc", "orderDesc", "search"]],
    });
  }
  document.documentElement.dataset.tables = "ready";
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && location.hash.startsWith("#large-")) location.hash = "#" + location.hash.slice(7);
});
// A printed table is whole.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
