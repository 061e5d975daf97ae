// The bytes of the tiny .caffemodel (chapter 1): point at a byte for its field, at a field for its
// bytes.

import { h, start } from "./dom.js";

const PRINTABLE = /[ -~]/;

start("bytes", (place, { data, fields }) => {
  // A byte belongs to the innermost field that holds it; `fields` lists outer ones first.
  const owner = data.map((_, i) => fields.findLastIndex(({ start, stop }) => i >= start && i < stop));
  const text = h("p", { class: "live-note", "aria-live": "polite" });
  const bytes = data.map((byte, i) =>
    h("button", {
      type: "button", class: "live-byte", tabindex: i ? -1 : 0, "aria-label": `byte ${i}, ${hex(byte)}`,
      onpointerenter: () => choose(i), onfocus: () => choose(i), onclick: () => choose(i),
    }, hex(byte)));
  const rows = fields.map((field, i) =>
    h("button", {
      type: "button", class: "live-fields", style: `--depth: ${field.depth}`,
      onpointerenter: () => mark(i), onfocus: () => mark(i), onclick: () => mark(i),
    }, `${field.number} ${field.name} ${field.value}`));
  const grid = h("div", { class: "live-hex", role: "group", "aria-label": "Bytes of the file; the arrow keys move" }, ...bytes);
  grid.addEventListener("keydown", (event) => {
    const across = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across, Home: -data.length, End: data.length }[event.key];
    if (!step) return;
    event.preventDefault();
    const i = Math.min(Math.max(bytes.indexOf(document.activeElement) + step, 0), data.length - 1);
    bytes.forEach((byte, j) => (byte.tabIndex = j === i ? 0 : -1)); // one stop for the tabulator
    bytes[i].focus();
  });
  place.append(
    h("p", { class: "live-title" }, "Try it: point at a byte or at a field"),
    h("div", { class: "live-columns" }, h("div", {}, grid, text), h("div", {}, ...rows)));

  function hex(byte) {
    return byte.toString(16).padStart(2, "0");
  }

  function mark(index) {
    const { start, stop, tag, length, body } = fields[index];
    bytes.forEach((byte, i) => {
      byte.classList.toggle("live-tag", i >= start && i < start + tag);
      byte.classList.toggle("live-length", i >= start + tag && i < start + tag + length);
      byte.classList.toggle("live-body", i >= body && i < stop);
    });
    rows.forEach((row, i) => row.classList.toggle("live-now", i === index));
    return fields[index];
  }

  function choose(i) {
    const index = owner[i];
    const { start, tag, length, number, name, wire, value, kind, body, stop } = mark(index);
    const part = i < start + tag ? `the tag, ${number} << 3 | ${wire}`
      : i < start + tag + length ? `the length, ${stop - body} bytes` : `byte ${i - body + 1} of ${stop - body} of the value`;
    const character = PRINTABLE.test(String.fromCharCode(data[i])) && kind === "text" ? `, "${String.fromCharCode(data[i])}"` : "";
    text.textContent = `Byte ${i}, ${hex(data[i])}${character}: ${part}. Field ${number}, ${name}, wire type ${wire}` +
      (value === "" ? ", a message." : `: ${value}.`);
    Object.assign(place.dataset, { byte: i, field: name, wire, value });
  }
  choose(0);
  place.dataset.ready = "";
});
