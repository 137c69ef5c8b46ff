"use strict";
// The page is whole without this: it adds sorting, filters, comparison, the viewer, and a download without gzip.
document.documentElement.classList.add("scripting");

const all = (selector, root = document) => [...root.querySelectorAll(selector)];

/* Claims: a claim's button folds the verdicts of its runs. */
function foldClaims() {
  const buttons = all("button[aria-controls]");
  const fold = (button, open) => {
    button.setAttribute("aria-expanded", open);
    document.getElementById(button.getAttribute("aria-controls")).hidden = !open;
  };
  for (const button of buttons) {
    fold(button, false);
    button.addEventListener("click", () => fold(button, button.getAttribute("aria-expanded") === "false"));
  }
  toggleAll("claims", "Show every verdict", "Show only the claims", (open) => {
    for (const button of buttons) fold(button, open);
  });
}

/* Folded parts: a link into one opens it, and all around it; paper has no folds. */
function openLinked() {
  const open = (id) => {
    const target = document.getElementById(id);
    if (!target) return;
    const inner = target.matches("details") ? target : target.querySelector(":scope > details.fold");
    for (let part = inner; part; part = part.parentElement) if (part.matches("details")) part.open = true;
  };
  for (const link of all('a[href^="#"]')) link.addEventListener("click", () => open(link.hash.slice(1)));
  if (/^#[a-z]+(-\d+)?$/.test(location.hash)) open(location.hash.slice(1));
  addEventListener("beforeprint", () => {
    for (const part of all("details.fold")) part.open = true;
  });
  toggleAll("settings", "Open all", "Close all", (open) => {
    for (const record of all("details.record")) record.open = open;
  });
}

function toggleAll(name, closed, opened, act) {
  const button = document.querySelector(`button[data-all="${name}"]`);
  if (!button) return;
  button.addEventListener("click", () => {
    const open = button.getAttribute("aria-pressed") === "false";
    button.setAttribute("aria-pressed", open);
    button.textContent = open ? opened : closed;
    act(open);
  });
}

/* Runs: sorting by any column, missing values last; showing and hiding columns. */
function sortRuns() {
  const table = document.querySelector("table.runs");
  if (!table) return;
  const [body] = table.tBodies;
  const headings = all("thead th", table);
  const value = (row, i) => row.cells[i].dataset.value;

  headings.forEach((heading, i) => {
    heading.firstElementChild.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      const compare = heading.classList.contains("number")
        ? (a, b) => sortable(a) - sortable(b)
        : (a, b) => a.localeCompare(b, "en", { numeric: true });
      const rows = [...body.rows];
      const present = rows.filter((row) => value(row, i) !== "");
      present.sort((a, b) => compare(value(a, i), value(b, i)) * (down ? -1 : 1));
      body.append(...present, ...rows.filter((row) => value(row, i) === ""));
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const words = heading.firstElementChild.textContent;
      document.querySelector(".announced").textContent = `Sorted by ${words}, ${down ? "largest" : "smallest"} first`;
    });
  });

  for (const box of all("input[data-column]")) {
    const show = () => {
      for (const row of table.rows) row.cells[box.dataset.column].hidden = !box.checked;
    };
    box.addEventListener("change", show);
    show(); // a browser may have kept a box as it was left before the page was loaded again
  }
}

/* Runs: those whose texts have all words of the filter. */
function filterRuns() {
  const field = document.getElementById("filter");
  if (!field) return;
  const rows = all("table.runs tbody tr");
  const found = document.querySelector(".found");
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      count += !row.hidden;
    }
    found.textContent = words.length ? `${count} of ${rows.length} runs` : "";
  });
}

/* Runs: two that are ticked, side by side: the table's numbers, then the entries in which they differ. */
function compareRuns() {
  const button = document.getElementById("compare");
  const dialog = document.getElementById("comparison");
  if (!button || !dialog) return;
  const boxes = all('table.runs input[type="checkbox"]');
  let ticked = []; // in the order in which they were
  for (const box of boxes) {
    box.checked = false; // a browser may have kept it as it was left
    box.addEventListener("change", () => {
      ticked = [...ticked.filter((other) => other !== box), ...(box.checked ? [box] : [])];
      if (ticked.length > 2) ticked.shift().checked = false;
      button.disabled = ticked.length !== 2;
    });
  }

  const line = (name, texts) => {
    const row = document.createElement("tr");
    if (texts[0] !== texts[1]) row.className = "differs";
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = name;
    row.append(head, ...texts.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
    return row;
  };
  const entries = (row) => {
    const record = document.getElementById(row.querySelector('a[href^="#run-"]').hash.slice(1));
    return new Map(all("table tr", record).map((entry) => [...entry.cells].map((cell) => cell.textContent)));
  };
  button.addEventListener("click", () => {
    const rows = ticked.map((box) => box.closest("tr"));
    const headings = all("table.runs thead th").map((heading) => heading.textContent);
    const columns = headings.map((name, i) => line(name, rows.map((row) => row.cells[i].textContent.trim())));
    const settings = rows.map(entries);
    const keys = [...new Set(settings.flatMap((some) => [...some.keys()]))];
    const others = keys.map((key) => line(key, settings.map((some) => some.get(key) ?? "–")));
    const known = others.filter((row) => row.className);
    dialog.querySelector("tbody").replaceChildren(...columns, ...known);
    dialog.showModal();
  });
  dialog.querySelector("button").addEventListener("click", () => dialog.close());
}

function sortable(text) {
  if (text === "inf") return Number.MAX_VALUE;
  return text === "-inf" ? -Number.MAX_VALUE : Number(text);
}

/* Figures: a dialog that shows one, zooms, and steps through the others. */
function showFigures() {
  const viewer = document.getElementById("viewer");
  if (!viewer) return;
  const buttons = all("figure > button");
  const stage = viewer.querySelector(".stage");
  const picture = stage.querySelector("img");
  const largest = 16;
  let shown = 0;
  let zoom = 1;

  const fitted = () => {
    const { width, height } = buttons[shown].firstElementChild;
    const ratio = buttons[shown].firstElementChild.naturalWidth / buttons[shown].firstElementChild.naturalHeight;
    const style = getComputedStyle(picture);
    const edge = parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
    return Math.min(stage.clientWidth - edge, (stage.clientHeight - edge) * (ratio || width / height)) + edge;
  };
  // (x, y), in pixels from the stage's corner, stays where it is
  const setZoom = (wanted, x = stage.clientWidth / 2, y = stage.clientHeight / 2) => {
    const before = picture.getBoundingClientRect();
    const corner = stage.getBoundingClientRect();
    const across = (corner.left + x - before.left) / (before.width || 1);
    const along = (corner.top + y - before.top) / (before.height || 1);
    zoom = Math.min(largest, Math.max(1, wanted));
    picture.style.width = `${fitted() * zoom}px`;
    const after = picture.getBoundingClientRect();
    stage.scrollLeft += after.left + across * after.width - corner.left - x;
    stage.scrollTop += after.top + along * after.height - corner.top - y;
    viewer.querySelector('[data-do="fit"]').textContent = `${Math.round(100 * zoom)} %`;
  };
  const show = (i) => {
    shown = (i + buttons.length) % buttons.length;
    const { src, alt } = buttons[shown].firstElementChild;
    picture.src = src;
    picture.alt = alt;
    viewer.querySelector("h2").textContent = alt;
    viewer.querySelector(".count").textContent = `${shown + 1} of ${buttons.length}`;
    setZoom(1);
  };
  const acts = {
    previous: () => show(shown - 1),
    next: () => show(shown + 1),
    in: () => setZoom(zoom * 1.4),
    out: () => setZoom(zoom / 1.4),
    fit: () => setZoom(1),
    close: () => viewer.close(),
  };
  const keys = { ArrowLeft: "previous", ArrowRight: "next", "+": "in", "=": "in", "-": "out", 0: "fit" };
  const moves = { ArrowLeft: [-60, 0], ArrowRight: [60, 0], ArrowUp: [0, -60], ArrowDown: [0, 60] };

  buttons.forEach((button, i) => {
    button.addEventListener("click", () => {
      viewer.showModal();
      stage.focus();
      show(i);
    });
  });
  for (const button of all("[data-do]", viewer)) button.addEventListener("click", acts[button.dataset.do]);
  viewer.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.shiftKey && moves[event.key]) stage.scrollBy(...moves[event.key]);
    else if (keys[event.key]) acts[keys[event.key]]();
    else return;
    event.preventDefault();
  });
  viewer.addEventListener("close", () => buttons[shown].focus());
  stage.addEventListener(
    "wheel",
    (event) => {
      const corner = stage.getBoundingClientRect();
      const step = Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002));
      setZoom(zoom * step, event.clientX - corner.left, event.clientY - corner.top);
      event.preventDefault();
    },
    { passive: false },
  );
  stage.addEventListener("dblclick", (event) => {
    const corner = stage.getBoundingClientRect();
    setZoom(zoom > 1 ? 1 : 3, event.clientX - corner.left, event.clientY - corner.top);
  });
  // a finger scrolls the stage by itself
  stage.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse" || event.button) return;
    stage.setPointerCapture(event.pointerId);
    event.preventDefault();
    stage.focus();
  });
  stage.addEventListener("pointermove", (event) => {
    if (stage.hasPointerCapture(event.pointerId)) stage.scrollBy(-event.movementX, -event.movementY);
  });
  addEventListener("resize", () => viewer.open && setZoom(zoom));
}

/* Data: the link gives the table gzipped; a browser that can unpack gives it as it is. */
function unpackDownload() {
  const link = document.getElementById("download");
  if (!link || !("DecompressionStream" in window)) return;
  link.addEventListener("click", async (event) => {
    event.preventDefault();
    const packed = Uint8Array.from(atob(link.getAttribute("href").split(",")[1]), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const table = await new Response(stream).blob();
    const plain = document.createElement("a");
    plain.href = URL.createObjectURL(new Blob([table], { type: "text/csv" }));
    plain.download = "rows.csv";
    plain.click();
    setTimeout(() => URL.revokeObjectURL(plain.href), 60000);
  });
}

addEventListener("DOMContentLoaded", () => {
  foldClaims();
  openLinked();
  sortRuns();
  filterRuns();
  compareRuns();
  showFigures();
  unpackDownload();
});
