// What all live parts share: they build elements, and find where they belong.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element: attributes by name, `on...` handlers as functions, then its children. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Make an element of SVG. */
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Build a part at each of its places; the data was written into the page with it. */
export function start(name, build) {
  for (const place of document.querySelectorAll(`[data-live="${name}"]`)) {
    const data = JSON.parse(place.querySelector("script").textContent);
    place.querySelector(".live-fallback")?.remove();
    build(place, data);
  }
}

/** A labelled slider; `show` writes its value, `change` is called when it moves. */
export function slider(label, { show = String, change, ...attributes }) {
  const value = h("span"); // no `output`, which would be read aloud beside the slider's own value
  const input = h("input", { type: "range", "aria-label": label, ...attributes, oninput: () => (update(), change()) });
  const update = () => {
    value.textContent = show(input.valueAsNumber);
    input.setAttribute("aria-valuetext", value.textContent);
  };
  update();
  return { input, update, element: h("label", { class: "live-slider" }, label, input, value) };
}

/** A number as a reader expects it: no more digits than tell something. */
export function short(value, digits = 3) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e6) return Number(value.toPrecision(digits)).toExponential().replace("e+", "e");
  return String(Number(value.toPrecision(Math.max(digits, Math.ceil(Math.log10(size))))));
}
