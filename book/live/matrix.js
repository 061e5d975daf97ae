// The confusion matrix (chapter 9): point at a cell for its count, its rates and its images; sort the
// classes, leave out unsure answers, and put the published matrix in its place.

import { h, s, slider, start } from "./dom.js";
import { arrange, count, sum } from "./counts.js";

const base = new URL(".", document.currentScript.src).href;

start("matrix", (place, { classes, answers, published, listed, pictures }) => {
  const photographs = new Set(pictures);
  const size = classes.length;
  const chosen = { row: 0, column: 0 };
  let order = classes.map((_, i) => i), matrix, used;

  const which = select("Matrix", { ours: "ours, five folds", published: "the published one" });
  const sort = select("Order", {
    name: "by name", recall: "by recall, lowest first", precision: "by precision, lowest first", near: "confused classes together",
  });
  const threshold = slider("At least this sure", {
    min: 0, max: 0.99, step: 0.01, value: 0, show: (v) => `${Math.round(100 * v)} %`, change: update,
  });
  function select(label, options) {
    const input = h("select", { onchange: update }, ...Object.entries(options).map(([value, text]) => h("option", { value }, text)));
    return { input, element: h("label", { class: "live-select" }, label, input) };
  }
  const summary = h("p", { class: "live-note", role: "status" });
  const detail = h("div", { class: "live-detail", "aria-live": "polite" });

  // One element for all cells: 441 stops of the tabulator would be 440 too many.
  const cells = s("g", {});
  const marker = s("rect", { class: "live-window", width: 1, height: 1 });
  const names = [s("g", {}), s("g", {})];
  const left = 7.6, top = 7.6;
  const svg = s("svg", {
    class: "live-cells", viewBox: `${-left} ${-top} ${size + left + 0.2} ${size + top + 0.2}`, tabindex: 0, role: "application",
    "aria-label": "Confusion matrix: rows are true classes, columns are answers; the arrow keys move from cell to cell",
  }, cells, ...names, marker);
  place.append(
    h("p", { class: "live-title" }, "Try it: point at a cell"),
    h("div", { class: "live-row" }, which.element, sort.element), threshold.element, summary,
    h("div", { class: "live-scroll", tabindex: 0, role: "region", "aria-label": "Matrix" }, svg), detail);

  const at = (event) => {
    const box = svg.getBoundingClientRect();
    const scale = (size + left + 0.2) / box.width;
    return [(event.clientY - box.top) * scale - top, (event.clientX - box.left) * scale - left].map(Math.floor);
  };
  const point = (event) => {
    const [row, column] = at(event);
    if (row >= 0 && column >= 0 && row < size && column < size) choose(row, column);
  };
  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const clip = (v) => Math.min(Math.max(v, 0), size - 1);
    choose(clip(chosen.row + step[0]), clip(chosen.column + step[1]));
  });

  function update() {
    const ours = which.input.value === "ours";
    threshold.input.disabled = !ours; // of the published answers only the counts are known
    used = ours ? answers.filter(([, , , probability]) => probability >= threshold.input.valueAsNumber) : [];
    matrix = ours ? count(used, size) : published;
    order = arrange(matrix, sort.input.value);
    const total = sum(matrix.flat());
    const right = sum(matrix.map((row, i) => row[i]));
    summary.textContent =
      `${right.toLocaleString("en")} of ${total.toLocaleString("en")} answers right: ${rate(right, total)}` +
      (used.length < answers.length && ours ? `. ${answers.length - used.length} of ${answers.length.toLocaleString("en")} images are left without an answer.` : ".");
    cells.replaceChildren(...order.flatMap((row, y) => order.map((column, x) => {
      const value = matrix[row][column];
      const share = value / Math.max(1, sum(matrix[row]));
      return s("g", {},
        s("rect", {
          x, y, width: 1, height: 1,
          class: row === column ? "live-right" : "live-error", style: `--share: ${value ? 0.15 + 0.85 * Math.sqrt(share) : 0}`,
        }),
        ...(value ? [s("text", { x: x + 0.5, y: y + 0.68, class: share > 0.3 ? "live-light" : "" }, String(value))] : []));
    })));
    names[0].replaceChildren(...order.map((i, y) => s("text", { class: "live-end", x: -0.3, y: y + 0.7 }, classes[i])));
    names[1].replaceChildren(...order.map((i, x) =>
      s("text", { class: "live-up", transform: `translate(${x + 0.7} -0.3) rotate(-90)` }, classes[i])));
    choose(chosen.row, chosen.column);
  }

  function choose(y, x) {
    Object.assign(chosen, { row: y, column: x });
    marker.setAttribute("x", x);
    marker.setAttribute("y", y);
    const [row, column] = [order[y], order[x]];
    const value = matrix[row][column];
    const truths = sum(matrix[row]);
    const said = sum(matrix.map((each) => each[column]));
    const text = row === column
      ? `${classes[row]}: ${value} right. Recall ${value} of ${truths}, ${rate(value, truths)}; precision ${value} of ${said}, ${rate(value, said)}.`
      : `${value} ${value === 1 ? "image" : "images"} of ${classes[row]} answered as ${classes[column]}: ` +
        `${rate(value, truths)} of the images of ${classes[row]}, ${rate(value, said)} of the answers "${classes[column]}".`;
    const images = used.filter(([, truth, answer]) => truth === row && answer === column).sort((a, b) => b[3] - a[3]);
    const shown = images.slice(0, listed);
    detail.replaceChildren(h("p", {}, text), h("ul", { class: "live-images" }, ...shown.map(([name, , , probability]) =>
      h("li", {}, ...(photographs.has(name) ? [h("img", { src: `${base}matrix/${name}.jpg`, alt: "", width: 64, height: 64 })] : []),
        `${name}, ${Math.round(100 * probability)} % sure`))),
      images.length > shown.length ? h("p", { class: "live-note" }, `and ${images.length - shown.length} less sure ones`) : "");
    Object.assign(place.dataset, { count: value, ready: "" });
  }

  const rate = (part, whole) => (whole ? `${((100 * part) / whole).toFixed(1)} %` : "no rate, because there are none");
  update();
});
