// From a file, a browser lets no script read the pages that a search finds: their titles are shown without excerpts.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// Furo opens its drawers and folds its menu by labels of hidden checkboxes; here a keyboard can press them, too.
const NAMES = { __navigation: "Site navigation", __toc: "Contents of this page" };

function madeAButton(label) {
  const box = document.getElementById(label.htmlFor);
  const told = () => label.setAttribute("aria-expanded", box.checked);
  label.tabIndex = 0;
  label.setAttribute("role", "button");
  label.setAttribute("aria-label", NAMES[label.htmlFor] || "Pages below " + label.parentElement.querySelector("a").innerText);
  label.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    label.click();
  });
  box.addEventListener("change", told);
  told();
}

function closed() {
  for (const name of Object.keys(NAMES)) {
    const box = document.getElementById(name);
    if (!box.checked) continue;
    box.click();
    [...document.querySelectorAll(`label[for=${name}][role=button]`)].find((label) => label.offsetParent)?.focus();
  }
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("label.nav-overlay-icon, label.toc-overlay-icon, .sidebar-tree label").forEach(madeAButton);
  document.addEventListener("keydown", (event) => event.key === "Escape" && closed());
});
