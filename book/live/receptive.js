// Receptive fields (chapter 2): point at a unit of any layer, and see its window in the picture and
// the units in between.

import { h, s, slider, start } from "./dom.js";
import { windows } from "./windows.js";

const base = new URL(".", document.currentScript.src).href;

start("receptive", (place, { size, picture, layers }) => {
  const sides = [size, ...layers.map((layer) => layer.side)];
  const names = ["picture", ...layers.map((layer) => layer.name)];
  const outermost = Math.max(...layers.map((_, i) => -windows(layers, size, i + 1, 0)[0].whole[0]));
  const chosen = { layer: 5, row: 6, column: 6 }; // the middle of conv3

  // A map for the picture and for each layer, all equally large: [0, side) squared.
  const maps = names.map((name, i) => {
    const side = sides[i];
    const outside = s("rect", { class: "live-outside" });
    const inside = s("rect", { class: "live-window" });
    const lines = i && Array.from({ length: side - 1 }, (_, n) => [
      s("line", { x1: n + 1, x2: n + 1, y1: 0, y2: side }), s("line", { y1: n + 1, y2: n + 1, x1: 0, x2: side }),
    ]).flat();
    const margin = i ? 0 : outermost; // what lies outside the picture is seen, too
    const svg = s("svg", { viewBox: [-margin, -margin, side + 2 * margin, side + 2 * margin].join(" "), "aria-hidden": "true" },
      i ? s("rect", { class: "live-field", width: side, height: side })
        : s("image", { href: base + picture, width: side, height: side }),
      s("g", { class: "live-grid" }, ...(lines || [])), outside, inside);
    const point = (event) => {
      if (!i || (event.pointerType === "touch" && event.type === "pointermove" && !svg.hasPointerCapture(event.pointerId))) return;
      const box = svg.getBoundingClientRect();
      const at = (v, length) => Math.min(Math.max(Math.floor((v / length) * side), 0), side - 1);
      choose({ layer: i, row: at(event.clientY - box.top, box.height), column: at(event.clientX - box.left, box.width) });
    };
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    const caption = h("figcaption", {}, i ? `${name}, ${side} × ${side}` : "");
    return { svg, outside, inside, caption, figure: h("figure", { class: i ? "live-layer" : "live-input" }, svg, caption) };
  });

  const layer = h("select", { "aria-label": "Layer", onchange: () => choose({ layer: Number(layer.value) }) },
    ...layers.map(({ name }, i) => h("option", { value: i + 1 }, name)));
  const position = (label, key) => slider(label, {
    min: 0, max: 1, step: 1, value: 0, change: () => choose({ [key]: inputs[key].input.valueAsNumber }),
  });
  const inputs = { row: position("Row", "row"), column: position("Column", "column") };
  const text = h("p", { class: "live-note", "aria-live": "polite" });
  place.append(
    h("p", { class: "live-title" }, "Try it: point at a unit of any layer"),
    h("div", { class: "live-columns" },
      h("div", {}, maps[0].figure),
      h("div", {},
        h("label", { class: "live-slider" }, "Layer", layer), inputs.row.element, inputs.column.element, text)),
    h("div", { class: "live-layers" }, ...maps.slice(1).map(({ figure }) => figure)));

  function choose(changes) {
    Object.assign(chosen, changes);
    const last = sides[chosen.layer] - 1;
    for (const key of ["row", "column"]) chosen[key] = Math.min(chosen[key], last);
    layer.value = chosen.layer;
    for (const [key, { input, update }] of Object.entries(inputs)) {
      input.max = last;
      input.value = chosen[key];
      update();
    }
    const [rows, columns] = [chosen.row, chosen.column].map((unit) => windows(layers, size, chosen.layer, unit));
    maps.forEach(({ outside, inside, figure }, i) => {
      const shown = i <= chosen.layer;
      figure.classList.toggle("live-later", !shown);
      for (const [rect, kind] of [[outside, "whole"], [inside, "real"]]) {
        rect.toggleAttribute("hidden", !shown);
        if (!shown) continue;
        const [[top, bottom], [left, right]] = [rows[i][kind], columns[i][kind]];
        for (const [name, value] of Object.entries({ x: left, y: top, width: right - left + 1, height: bottom - top + 1 }))
          rect.setAttribute(name, value);
      }
    });
    const { name, field, jump } = layers[chosen.layer - 1];
    const part = ({ real: [from, to] }) => (from === to ? `${from}` : `${from} to ${to}`);
    const cut = [rows[0], columns[0]].some(({ whole, real }) => whole[0] < real[0] || whole[1] > real[1]);
    text.textContent =
      `Row ${chosen.row}, column ${chosen.column} of ${name} sees rows ${part(rows[0])} and columns ${part(columns[0])} ` +
      `of the picture. The window's side is ${field} pixels` + (cut ? ", partly outside the picture (dashed), where there is padding" : "") +
      `; the next unit's window lies ${jump} pixels further.` +
      (chosen.layer > 1 ? ` In between: ${names.slice(1, chosen.layer).map((other, i) => {
        const [r, c] = [rows[i + 1].real, columns[i + 1].real];
        return `${r[1] - r[0] + 1} × ${c[1] - c[0] + 1} units of ${other}`;
      }).join(", ")}.` : "");
    Object.assign(place.dataset, { rows: rows[0].whole.join(), columns: columns[0].whole.join(), ready: "" });
  }
  choose({});
});
