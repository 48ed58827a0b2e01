/* What pages do beyond text, without another host: tables sort, figures open large, their numbers show as a table.
   Everything is there without it too; keyboards reach all of it. */
(() => {
  "use strict";

  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };

  // Tables: a click on a heading sorts, a second one turns round, a third gives the page's own order back.

  const NUMBER = /^[<>≥≤~≈±]?\s*([-+−]?[\d,]*\.?\d+(?:e[-+]?\d+)?)/i;
  const value = (cell) => {
    const text = cell ? cell.textContent.trim() : "";
    const found = text.match(NUMBER);
    return { text, number: found ? Number(found[1].replace(/,/g, "").replace("−", "-")) : NaN };
  };
  const byValue = (a, b) => {
    if (!a.text || !b.text) return !a.text - !b.text; // what is missing stays below
    if (!Number.isNaN(a.number) && !Number.isNaN(b.number)) return a.number - b.number;
    return a.text.localeCompare(b.text, undefined, { numeric: true });
  };

  function sortable(table) {
    const head = table.tHead && table.tHead.rows.length === 1 ? table.tHead.rows[0] : null;
    const body = table.tBodies.length === 1 ? table.tBodies[0] : null;
    const spans = table.querySelector("[rowspan]:not([rowspan='1']), [colspan]:not([colspan='1'])");
    if (!head || !body || body.rows.length < 3 || spans) return;
    const original = [...body.rows];
    [...head.cells].forEach((cell, column) => {
      if (!cell.textContent.trim() || cell.querySelector("button")) return;
      const button = make("button", { type: "button", class: "tf-sort" });
      button.append(...cell.childNodes);
      cell.append(button);
      button.addEventListener("click", () => {
        const next = { none: "ascending", ascending: "descending", descending: "none" }[
          cell.getAttribute("aria-sort") || "none"
        ];
        for (const other of head.cells) other.removeAttribute("aria-sort");
        if (next !== "none") cell.setAttribute("aria-sort", next);
        const keyed = original.map((row) => [value(row.cells[column]), row]);
        const way = next === "descending" ? -1 : 1;
        if (next !== "none")
          keyed.sort(([a], [b]) => byValue(a, b) * (a.text && b.text ? way : 1));
        body.append(...keyed.map(([, row]) => row));
      });
    });
  }

  // What scrolls sideways can be scrolled by keyboard.
  function reachable(box) {
    if (box.scrollWidth > box.clientWidth + 1 && !box.hasAttribute("tabindex")) {
      box.setAttribute("tabindex", "0");
      box.setAttribute("role", "region");
      box.setAttribute("aria-label", box.querySelector("table") ? "table, scrolls sideways" : "scrolls sideways");
    }
  }

  // Figures: a click, Enter or Space opens one over the whole window; arrows go on, Escape closes.

  function lightbox(images) {
    if (!images.length || !window.HTMLDialogElement) return;
    const large = make("img", { alt: "" });
    const words = make("p");
    const button = (label, sign) => make("button", { type: "button", "aria-label": label, title: label }, sign);
    const [before, close, after] = [button("previous figure", "‹"), button("close", "×"), button("next figure", "›")];
    const dialog = make("dialog", { class: "tf-lightbox", "aria-label": "figure" },
      make("div", {}, large, words), before, close, after);
    document.body.append(dialog);
    let shown = 0;
    const show = (number) => {
      shown = (number + images.length) % images.length;
      large.src = images[shown].src;
      large.alt = images[shown].alt;
      const below = caption(images[shown]);
      words.textContent = below ? below.textContent : "";
    };
    const caption = (image) => {
      const cell = image.closest(".cell_output");
      const all = cell ? [...cell.querySelectorAll("img")] : [];
      return cell && cell.querySelectorAll(".tf-below p")[all.indexOf(image)];
    };
    images.forEach((image, number) => {
      image.setAttribute("role", "button");
      image.setAttribute("tabindex", "0");
      image.classList.add("tf-zoom");
      const open = (event) => {
        if (event.type === "keydown" && event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        show(number);
        dialog.showModal();
        close.focus();
      };
      image.addEventListener("click", open);
      image.addEventListener("keydown", open);
    });
    before.addEventListener("click", () => show(shown - 1));
    after.addEventListener("click", () => show(shown + 1));
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => images[shown].focus());
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") show(shown - 1);
      if (event.key === "ArrowRight") show(shown + 1);
    });
    before.hidden = after.hidden = images.length === 1;
  }

  // The numbers of a figure: the CSV that its link holds, as a table that sorts.

  const ROWS = 400;

  function fields(text) {
    const rows = [[""]];
    let quoted = false;
    for (let k = 0; k < text.length; k += 1) {
      const sign = text[k];
      const row = rows[rows.length - 1];
      if (sign === '"' && quoted && text[k + 1] === '"') { row[row.length - 1] += '"'; k += 1; }
      else if (sign === '"') quoted = !quoted;
      else if (sign === "," && !quoted) row.push("");
      else if (sign === "\n" && !quoted) rows.push([""]);
      else row[row.length - 1] += sign;
    }
    return rows.filter((row) => row.length > 1 || row[0]);
  }

  const brief = (text) => (/^-?\d+\.\d{5,}$/.test(text) ? String(Number(Number(text).toPrecision(4))) : text);

  function values(link) {
    const details = make("details", { class: "tf-values" }, make("summary", {}, "Values"));
    link.after(" ", details);
    details.addEventListener("toggle", () => {
      if (!details.open || details.querySelector("table")) return;
      const bytes = Uint8Array.from(atob(link.href.split(",")[1]), (sign) => sign.charCodeAt(0));
      const [head, ...rows] = fields(new TextDecoder().decode(bytes));
      const line = (cells, name) => make("tr", {}, ...cells.map((cell) => make(name, {}, brief(cell))));
      const table = make("table", { class: "dataframe" },
        make("thead", {}, line(head, "th")), make("tbody", {}, ...rows.slice(0, ROWS).map((row) => line(row, "td"))));
      const box = make("div", { class: "tf-scroll" }, table);
      details.append(box);
      if (rows.length > ROWS) details.append(make("p", {}, `The first ${ROWS} of ${rows.length} rows; the CSV has all.`));
      sortable(table);
      reachable(box);
    });
  }

  function start() {
    const article = document.querySelector(".bd-article");
    if (!article) return;
    for (const cell of article.querySelectorAll(".cell_output td, .cell_output th"))
      if (cell.textContent.trim().length <= (cell.tagName === "TH" ? 14 : 26)) cell.classList.add("tf-short");
    article.querySelectorAll("table").forEach(sortable);
    lightbox([...article.querySelectorAll(".cell_output img, .tf-sets img")]);
    article.querySelectorAll('.tf-below a[href^="data:text/csv"]').forEach(values);
    article.querySelectorAll(".cell_output .output, .pst-scrollable-table-container, .tf-scroll, pre, div.math")
      .forEach(reachable);
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
