// Local response normalization (chapter 3): drag the channels, move the parameters, and see both
// conventions side by side.

import { h, short, slider, start } from "./dom.js";
import { normalize } from "./normalize.js";

start("lrn", (place, { values, first, parameters, most }) => {
  const x = values.slice();
  let chosen = Math.floor(x.length / 2);

  const column = (i) => {
    const before = h("div", { class: "live-bar", "aria-hidden": "true" });
    const input = h("input", {
      type: "range", min: 0, max: most, step: 1, value: x[i], orient: "vertical",
      "aria-label": `channel ${first + i}, activation before`,
      oninput: () => ((x[i] = input.valueAsNumber), choose(i)),
      onfocus: () => choose(i), onpointerenter: () => choose(i),
    });
    const after = h("div", { class: "live-bar", "aria-hidden": "true" });
    const wrong = h("div", { class: "live-mark", "aria-hidden": "true" });
    const [number, result] = [h("output"), h("output")];
    const element = h("div", { class: "live-channel", onclick: () => choose(i) },
      number, h("div", { class: "live-well" }, before, input),
      h("span", { class: "live-name" }, String(first + i)),
      h("div", { class: "live-well live-low" }, after, wrong), result);
    return { element, input, before, after, wrong, number, result };
  };
  const columns = x.map((_, i) => column(i));

  const change = () => update();
  const sliders = {
    local_size: slider("local_size", { min: 1, max: 9, step: 2, value: parameters.local_size, change }),
    // A logarithmic scale: from a thousandth to a hundred times AlexNet's.
    alpha: slider("alpha", {
      min: -7, max: -2, step: 0.05, value: Math.log10(parameters.alpha), show: (v) => short(10 ** v), change,
    }),
    beta: slider("beta", { min: 0, max: 1.5, step: 0.05, value: parameters.beta, show: (v) => v.toFixed(2), change }),
    k: slider("k", { min: 0.1, max: 5, step: 0.1, value: parameters.k, show: (v) => v.toFixed(1), change }),
  };
  const copied = h("input", { type: "checkbox", onchange: change });
  const table = h("table", { class: "table" });
  const text = h("p", { class: "live-note", "aria-live": "polite" });
  place.append(
    h("p", { class: "live-title" }, "Try it: one position, ", String(x.length), " of conv1's channels"),
    h("div", { class: "live-channels" },
      h("div", { class: "live-legend" }, h("span", {}, "before"), h("span", {}, "after")),
      ...columns.map(({ element }) => element)),
    text,
    h("div", { class: "live-columns" },
      h("div", {}, ...Object.values(sliders).map(({ element }) => element),
        h("label", { class: "live-check" }, copied, " Copy Caffe's alpha without dividing it (orange)")),
      table),
    h("p", { class: "live-buttons" },
      h("button", {
        type: "button",
        onclick: () => {
          values.forEach((value, i) => (x[i] = columns[i].input.value = value));
          for (const [name, { input, update }] of Object.entries(sliders)) {
            input.value = name === "alpha" ? Math.log10(parameters.alpha) : parameters[name];
            update();
          }
          copied.checked = false;
          change();
        },
      }, "Reset")));

  function choose(i) {
    chosen = i;
    update();
  }

  function update() {
    const { local_size, beta, k } = Object.fromEntries(
      Object.entries(sliders).map(([name, { input }]) => [name, input.valueAsNumber]));
    const alpha = 10 ** sliders.alpha.input.valueAsNumber;
    const depth_radius = (local_size - 1) / 2;
    const given = { depth_radius, bias: k, alpha: alpha / local_size, beta };
    const y = normalize(x, given);
    const wrong = copied.checked ? normalize(x, { ...given, alpha }) : null;
    // Both rows have scales of their own, or the normalized bars could not be seen.
    const top = 1.1 * Math.max(...y, ...(wrong ?? []), 1e-9);
    const [from, to] = [Math.max(chosen - depth_radius, 0), Math.min(chosen + depth_radius, x.length - 1)];
    columns.forEach((column, i) => {
      const inside = i >= from && i <= to;
      column.element.classList.toggle("live-inside", inside);
      column.element.classList.toggle("live-chosen", i === chosen);
      column.before.style.height = `${(100 * x[i]) / most}%`;
      column.after.style.height = `${(100 * y[i]) / top}%`;
      column.wrong.hidden = !wrong;
      if (wrong) column.wrong.style.bottom = `${(100 * wrong[i]) / top}%`;
      column.number.textContent = short(x[i]);
      column.result.textContent = short((wrong ?? y)[i]);
      column.result.value = short((wrong ?? y)[i]);
      column.result.dataset.exact = (wrong ?? y)[i];
    });
    const energy = x.slice(from, to + 1).reduce((sum, v) => sum + v * v, 0);
    const used = wrong ? alpha : given.alpha;
    const divisor = (k + used * energy) ** beta;
    text.textContent =
      `Channel ${first + chosen} reads channels ${first + from} to ${first + to}, whose squares add up to ` +
      `${short(energy)}. It is divided by (${short(k)} + ${short(used)} × ${short(energy)})^${beta.toFixed(2)} = ` +
      `${short(divisor, 4)}: ${short(x[chosen])} becomes ${short(x[chosen] / divisor, 4)}.` +
      (wrong ? ` Divided by local_size, alpha would give ${short(y[chosen], 4)}.` : "");
    const rows = [
      ["local_size", local_size, "depth_radius", depth_radius],
      ["alpha", short(alpha), "alpha", short(used)],
      ["beta", beta.toFixed(2), "beta", beta.toFixed(2)],
      ["k", short(k), "bias", short(k)],
    ];
    table.replaceChildren(
      h("caption", {}, "The same layer in both"),
      h("thead", {}, h("tr", {},
        h("th", { scope: "col", colspan: 2 }, "Caffe"), h("th", { scope: "col", colspan: 2 }, "TensorFlow"))),
      h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map((cell, i) =>
        h("td", { class: wrong && row[0] === "alpha" && i > 1 && "live-wrong" }, String(cell)))))));
  }
  update();
  // What a test moves and reads.
  place.dataset.ready = "";
});
