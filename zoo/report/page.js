"use strict";
// The address says what is shown: report.html#q=conv&status=failed&sort=-seconds, or #m3 for a model.
const table = document.querySelector("#models");
if (table) {
  const models = [...table.tBodies], heads = [...table.tHead.rows[0].cells];
  const filter = document.querySelector("#filter"), chips = [...document.querySelectorAll("#statuses button")], shown = document.querySelector("#shown"), nothing = document.querySelector("#nothing");
  let status = "", sort = "", ordered = models;
  let most = +table.dataset.most; // rows are shown, until all are asked for

  const value = (model, column) => {
    const cell = model.rows[0].cells[column];
    if (!cell.classList.contains("n")) return cell.textContent;
    const text = cell.dataset.n ?? cell.textContent;
    return text === "" ? null : parseFloat(text);
  };

  const order = () => {
    const down = sort.startsWith("-"), column = heads.findIndex(h => h.dataset.key === sort.replace("-", ""));
    heads.forEach((h, k) => k === column ? h.setAttribute("aria-sort", down ? "descending" : "ascending") : h.removeAttribute("aria-sort"));
    const list = models.map((model, k) => ({ model, k, v: column < 0 ? k : value(model, column) }));
    list.sort((a, b) => (a.v === null) - (b.v === null) || (a.v < b.v ? -1 : a.v > b.v ? 1 : 0) * (down ? -1 : 1) || a.k - b.k); // what was not measured is last, either way
    ordered = list.map(x => x.model);
    table.append(...ordered);
  };

  const show = () => {
    const want = filter.value.toLowerCase().split(" ").filter(Boolean);
    let found = 0;
    for (const m of ordered) {
      const text = want.length ? m.textContent.toLowerCase() : "";
      m.hidden = status !== "" && m.dataset.status !== status || !want.every(w => text.includes(w));
      found += !m.hidden;
      m.classList.toggle("far", found > most);
    }
    nothing.hidden = found > 0;
    chips.forEach(c => c.setAttribute("aria-pressed", c.dataset.status === status));
    shown.replaceChildren(`${found === models.length ? "" : `${found} of `}${models.length} model${models.length === 1 ? "" : "s"}`);
    if (found > most) {
      const all = document.createElement("button");
      all.type = "button";
      all.textContent = "show all";
      all.onclick = () => { most = Infinity; show(); };
      shown.append(`, the first ${most} are shown; `, all);
    }
  };

  const remember = () => {
    const state = new URLSearchParams(Object.entries({ q: filter.value, status, sort }).filter(([, v]) => v));
    history.replaceState(null, "", "#" + state);
  };

  const recall = () => {
    const hash = location.hash.slice(1);
    if (/^m\d+$/.test(hash)) {
      const details = document.getElementById(hash)?.querySelector("details");
      if (details) details.open = true;
      return;
    }
    const state = new URLSearchParams(hash);
    filter.value = state.get("q") ?? "";
    status = state.get("status") ?? "";
    if (sort !== (state.get("sort") ?? "")) {
      sort = state.get("sort") ?? "";
      order();
    }
  };

  filter.addEventListener("input", () => { show(); remember(); });
  chips.forEach(c => c.addEventListener("click", () => {
    status = status === c.dataset.status ? "" : c.dataset.status;
    show();
    remember();
  }));
  nothing.querySelector("button").addEventListener("click", () => {
    filter.value = status = "";
    show();
    remember();
  });
  heads.forEach(h => h.addEventListener("click", e => {
    e.preventDefault();
    const key = h.dataset.key, first = h.classList.contains("n") ? "-" + key : key, second = h.classList.contains("n") ? key : "-" + key;
    sort = sort === first ? second : sort === second ? "" : first; // down, up, and as the page came
    order();
    show();
    remember();
  }));
  table.addEventListener("click", e => {
    if (e.target.closest("summary, .more, thead") || getSelection().toString()) return;
    const details = e.target.closest("tbody")?.querySelector("details");
    if (details) details.open = !details.open;
  });
  table.addEventListener("toggle", e => {
    if (e.target.parentNode.scope === "row") e.target.closest("tbody").classList.toggle("open", e.target.open);
  }, true);
  addEventListener("hashchange", () => { recall(); show(); });
  recall();
  show();
}
