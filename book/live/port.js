// The port explorer (chapter 5): every layer's error as a chart, and the museum's bugs as switches.

import { h, s, short, slider, start } from "./dom.js";

const [LEAST, MOST] = [-8, 1]; // powers of ten
const [WIDTH, HEIGHT, LEFT, BOTTOM] = [600, 260, 46, 8];

start("port", (place, { layers, limit, ports }) => {
  // Notebooks store the names sorted; the right port comes first.
  const names = Object.keys(ports).sort((a, b) => (b === "no bug") - (a === "no bug"));
  let chosen = 0, [bug] = names;
  const x = (i) => LEFT + ((i + 0.5) * (WIDTH - LEFT)) / layers.length;
  const y = (error) => {
    const power = Math.min(Math.max(Math.log10(error || 1e-9), LEAST), MOST);
    return ((MOST - power) / (MOST - LEAST)) * (HEIGHT - BOTTOM);
  };
  const powers = Array.from({ length: MOST - LEAST + 1 }, (_, i) => LEAST + i);
  const points = s("g", {});
  const cursor = s("line", { class: "live-cursor", y1: 0, y2: HEIGHT - BOTTOM });
  const svg = s("svg", { class: "live-chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" },
    ...powers.flatMap((power) => [
      s("line", { class: "live-rule", x1: LEFT, x2: WIDTH, y1: y(10 ** power), y2: y(10 ** power) }),
      ...(power % 2 ? [] : [s("text", { x: LEFT - 6, y: y(10 ** power) + 4 }, power ? `1e${power}` : "1")]),
    ]),
    s("line", { class: "live-limit", x1: LEFT, x2: WIDTH, y1: y(limit), y2: y(limit) }),
    cursor, points);
  const point = (event) => {
    const box = svg.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * WIDTH - LEFT;
    choose(Math.min(Math.max(Math.floor((at / (WIDTH - LEFT)) * layers.length), 0), layers.length - 1));
  };
  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  const layer = slider("Layer", {
    min: 0, max: layers.length - 1, step: 1, value: 0, show: (i) => layers[i].layer,
    change: () => choose(layer.input.valueAsNumber),
  });
  const text = h("p", { class: "live-note", "aria-live": "polite" });
  place.append(
    h("p", { class: "live-title" }, "Try it: put in a bug and point at a layer"),
    h("fieldset", { class: "live-switches" }, h("legend", {}, "Bug"),
      ...names.map((name, i) => h("label", {},
        h("input", { type: "radio", name: "live-port", checked: !i, onchange: () => ((bug = name), update()) }), ` ${name}`))),
    svg, layer.element, text);

  const errorOf = (i) => ports[bug][i];
  const broken = (i) => errorOf(i) === null || errorOf(i) > limit; // null: another shape
  const words = (i) => (errorOf(i) === null ? "another shape" : `relative error ${short(errorOf(i), 2)}`);

  function update() {
    points.replaceChildren(...layers.map((_, i) => {
      const at = errorOf(i) === null ? 0 : y(errorOf(i));
      return s("g", {},
        s("line", { class: "live-stem", x1: x(i), x2: x(i), y1: y(0), y2: at }),
        // A second form beside the colour: circles hold, crosses are broken.
        broken(i)
          ? s("path", { class: "live-broken", d: `M${x(i) - 5} ${at - 5}l10 10m0 -10l-10 10` })
          : s("circle", { class: "live-holds", cx: x(i), cy: at, r: 4 }));
    }));
    choose(chosen);
  }

  function choose(i) {
    chosen = i;
    layer.input.value = i;
    layer.update();
    for (const name of ["x1", "x2"]) cursor.setAttribute(name, x(i));
    const first = layers.findIndex((_, j) => broken(j));
    const { layer: name, type, shape } = layers[i];
    const whole = first < 0 ? `All ${layers.length} layers hold.` : `The first broken layer is ${layers[first].layer}.`;
    text.textContent = `${name} (${type}, ${[shape].flat().join(" × ")}): ${words(i)}, ${broken(i) ? "broken" : "holds"}. ${whole}`;
    svg.setAttribute("aria-label", `Errors of ${layers.length} layers with ${bug}, from 1e${LEAST} to ${10 ** MOST}, limit ${limit}. ${whole}`);
    Object.assign(place.dataset, { layer: name, error: errorOf(i), first: first < 0 ? "" : layers[first].layer, ready: "" });
  }
  update();
});
