// The page "Try the network": a picture in, the classifier's answer out, all in the browser.

import { h, slider, start } from "./dom.js";
import { loadNetwork } from "./network.js";
import { decode, Refusal, strips } from "./picture.js";
import { resize, subtractMean, view } from "./pixels.js";

const SIDE = 227;
const MOST_BARS = 5;
// As in the chapter "Go further".
const PATCH = 60;
const STEP = 14;
const base = new URL(".", document.currentScript.src).href;

const percent = (p) => `${(100 * p).toFixed(1)} %`;
const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
const nextFrame = () => new Promise((resolve) => requestAnimationFrame(resolve));

// Which of the eight views is view `second` of view `first`; four pixels tell.
const four = Uint8Array.of(0, 1, 2, 3);
const turned = (...numbers) => numbers.reduce((p, number) => view(p, 2, number, 1), four).join();
const compose = (first, second) =>
  [...Array(8).keys()].find((number) => turned(number) === turned(first, second));
const QUARTER_TURN = 6;
const MIRROR = 2;

start("try", (place, data) => {
  if (location.protocol === "file:") {
    place.append(
      h("p", { class: "live-note", role: "status" },
        "This page was opened from a file, and browsers do not run the network there. Serve the " +
        "book instead: in its folder, type ", h("code", {}, "make serve"), "."),
    );
    return;
  }
  const { classes, mean, scenes, sprite } = data;
  const state = { bitmap: null, name: "", zoom: 1, x: 0.5, y: 0.5, view: 0 };
  let ask, run = 0; // `run` grows with every change, so that what is older stops

  // What the reader sees.
  const status = h("p", { class: "live-note", role: "status" });
  const progress = h("progress", { "aria-label": "Loading the network", max: 1, value: 0 });
  const file = h("input", {
    type: "file", accept: "image/*", "aria-label": "Choose a picture",
    onclick: () => (file.value = ""), // so that the same file can be chosen again
    onchange: () => file.files[0] && open(file.files[0]),
  });
  const thumbnails = h("div", { class: "live-scenes", role: "group", "aria-label": "Drawn scenes" },
    ...scenes.map((scene, i) =>
      h("button", {
        type: "button", "aria-label": `drawn scene: ${scene.name}`, title: scene.name,
        style: `background-image: url("${base}${sprite.file}"); background-position: 0 ${(100 * i) / (scenes.length - 1)}%`,
        onclick: () => openScene(scene),
      })));
  const seen = h("canvas", { width: SIDE, height: SIDE, role: "img", class: "live-seen" });
  const overlay = h("canvas", { width: SIDE, height: SIDE, "aria-hidden": "true" });
  const zoom = slider("Zoom", {
    min: 1, max: 8, step: 0.05, value: 1, show: (v) => `${v.toFixed(2)}×`,
    change: () => change({ zoom: zoom.input.valueAsNumber }),
  });
  const across = slider("Left to right", {
    min: 0, max: 1, step: 0.01, value: 0.5, show: (v) => `${Math.round(100 * v)} %`,
    change: () => change({ x: across.input.valueAsNumber }),
  });
  const down = slider("Top to bottom", {
    min: 0, max: 1, step: 0.01, value: 0.5, show: (v) => `${Math.round(100 * v)} %`,
    change: () => change({ y: down.input.valueAsNumber }),
  });
  const button = (text, onclick, more = {}) => h("button", { type: "button", onclick, ...more }, text);
  const bars = h("ol", { class: "live-bars" });
  const views = h("div", {});
  const eight = button("Ask all eight views", askEightViews);
  const why = button("Which pixels decided?", () => (why.running ? (why.running = false) : explain()));
  const whyText = h("p", { class: "live-note", role: "status" });
  const channels = button("Show conv1's 96 responses", showChannels);
  const responses = h("div", {});
  const work = h("div", { class: "live-columns", hidden: true },
    h("div", {},
      h("div", { class: "live-stack" }, seen, overlay),
      zoom.element, across.element, down.element,
      h("p", { class: "live-buttons" },
        button("Turn", () => change({ view: compose(state.view, QUARTER_TURN) })),
        button("Mirror", () => change({ view: compose(state.view, MIRROR) })),
        button("Reset", () => change({ zoom: 1, x: 0.5, y: 0.5, view: 0 })))),
    h("div", {}, bars,
      h("p", { class: "live-buttons" }, eight, why, channels), whyText, views, responses));
  place.append(
    h("div", { class: "live-drop" },
      h("p", {}, h("strong", {}, "Drop a picture here, paste one, or choose one:")), file,
      h("p", {}, "or take a drawn scene:"), thumbnails),
    progress, status, work);

  const say = (...text) => status.replaceChildren(...text);
  const fail = (error) => {
    if (!(error instanceof Refusal)) console.warn(error);
    say(error instanceof Refusal ? error.message : `Something went wrong: ${error.message}`);
  };

  // Load the network at once, unless the reader asks to save data.
  let loading;
  const load = () => (loading ??= loadNetwork({ base, files: data.files }, (loaded, total) => {
    progress.value = loaded / total;
    say(`Loading the network: ${megabytes(loaded)} of ${megabytes(total)} MB.`);
  }).then((network) => {
    ask = network;
    progress.hidden = true;
    place.dataset.ready = "";
    say("The network is ready.");
    if (state.bitmap) answer();
  }, (error) => {
    progress.hidden = true;
    say(`The network could not be loaded (${error.message}). Reload the page to try again.`);
  }));
  if (navigator.connection?.saveData)
    say(`The network takes ${megabytes(data.files.reduce((n, f) => n + f.bytes, 0))} MB. It is loaded when you choose a picture.`);
  else load();

  // A picture comes in.
  async function open(blob) {
    const mine = ++run;
    say(`Opening ${blob.name ?? "the picture"} ...`);
    try {
      const bitmap = await decode(blob);
      if (mine !== run) return bitmap.close();
      state.bitmap?.close();
      Object.assign(state, { bitmap, name: blob.name ?? "picture" });
      work.hidden = false;
      change({ zoom: 1, x: 0.5, y: 0.5, view: 0 });
      load();
    } catch (error) {
      fail(error);
    }
  }
  async function openScene({ file, name }) {
    try {
      const response = await fetch(new URL(file, base));
      if (!response.ok) throw new Error(`the server answers ${response.status}`);
      await open(new File([await response.blob()], `drawn ${name}`));
    } catch (error) {
      fail(error);
    }
  }
  const dropped = (transfer) => {
    const [given] = transfer?.files ?? [];
    if (given) open(given);
    else say("There was no file in it. Save the picture first, then choose it here.");
  };
  place.addEventListener("dragover", (event) => event.preventDefault());
  place.addEventListener("drop", (event) => (event.preventDefault(), dropped(event.dataTransfer)));
  document.addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) dropped(event.clipboardData);
  });

  // The reader moves the crop by dragging; what is seen may be turned, the picture itself is not.
  seen.addEventListener("pointerdown", (event) => seen.setPointerCapture(event.pointerId));
  seen.addEventListener("pointermove", (event) => {
    if (!seen.hasPointerCapture(event.pointerId) || state.zoom === 1) return;
    const scale = -1 / seen.clientWidth / (state.zoom - 1);
    let [dy, dx] = [event.movementY * scale, event.movementX * scale];
    if (state.view & 1) dy = -dy;
    if (state.view & 2) dx = -dx;
    if (state.view & 4) [dy, dx] = [dx, dy];
    const clip = (v) => Math.min(Math.max(v, 0), 1);
    change({ x: clip(state.x + dx), y: clip(state.y + dy) });
  });

  function change(changes) {
    Object.assign(state, changes);
    for (const [part, key] of [[zoom, "zoom"], [across, "x"], [down, "y"]]) {
      part.input.value = state[key];
      part.update();
    }
    across.input.disabled = down.input.disabled = state.zoom === 1;
    why.running = false;
    overlay.getContext("2d").clearRect(0, 0, SIDE, SIDE);
    whyText.replaceChildren();
    views.replaceChildren();
    responses.replaceChildren();
    run++;
    try {
      see();
    } catch (error) {
      return fail(error);
    }
    answer();
  }

  /** Cut, stretch and turn the picture to what the network takes, and show it. */
  function see() {
    const { bitmap, zoom, x, y } = state;
    const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side / zoom)));
    const part = {
      width, height, left: Math.round(x * (bitmap.width - width)), top: Math.round(y * (bitmap.height - height)),
    };
    const square = resize(width, height, strips(bitmap, part), SIDE);
    state.rgb = view(square, SIDE, state.view);
    const image = new ImageData(SIDE, SIDE);
    for (let i = 0, j = 0; i < image.data.length; i += 4, j += 3)
      image.data.set([state.rgb[j], state.rgb[j + 1], state.rgb[j + 2], 255], i);
    seen.getContext("2d").putImageData(image, 0, 0);
    seen.setAttribute("aria-label", `What the network sees of ${state.name}: ${width} by ${height} pixels, stretched to a square`);
    state.input = subtractMean(state.rgb, mean);
  }

  // While the network is busy, only the latest wish is kept.
  let busy = false, again = false;
  async function answer() {
    if (!ask) return;
    if (busy) return void (again = true);
    busy = true;
    try {
      do {
        again = false;
        const begun = performance.now();
        const [probabilities, relu1] = await ask(state.input.slice());
        const time = performance.now() - begun;
        if (again) continue;
        Object.assign(state, { probabilities, relu1 });
        showBars(probabilities);
        const best = probabilities.indexOf(Math.max(...probabilities));
        say(`${state.name}: ${classes[best]}, ${percent(probabilities[best])}. Computed here in ${Math.round(time)} ms.`);
        place.dispatchEvent(new CustomEvent("answer", { detail: { name: state.name, probabilities, time } }));
      } while (again);
    } catch (error) {
      fail(error);
    } finally {
      busy = false;
    }
  }

  const ranked = (values) =>
    [...values.keys()].sort((a, b) => values[b] - values[a]).slice(0, MOST_BARS);
  function showBars(probabilities) {
    bars.replaceChildren(...ranked(probabilities).map((index) =>
      h("li", { style: `--share: ${probabilities[index]}` },
        h("span", {}, classes[index]), h("span", {}, percent(probabilities[index])))));
  }

  /** Run the network on many inputs, one after the other, until the reader changes something. */
  async function* runAll(inputs) {
    const mine = run;
    for (const input of inputs) {
      const [probabilities] = await ask(input);
      if (mine !== run) return;
      yield probabilities;
    }
  }

  async function askEightViews() {
    if (!state.probabilities) return;
    const mine = run, answers = [];
    try {
      const inputs = [...Array(8).keys()].map((number) => view(state.input, SIDE, number));
      for await (const probabilities of runAll(inputs)) {
        answers.push(probabilities);
        views.replaceChildren(h("p", { class: "live-note" }, `${answers.length} of 8 views`));
      }
    } catch (error) {
      return fail(error);
    }
    if (mine !== run) return;
    const average = (values) => values.reduce((a, b) => a + b, 0) / values.length;
    const means = classes.map((_, i) => average(answers.map((p) => p[i])));
    const spread = (i) => Math.sqrt(average(answers.map((p) => (p[i] - means[i]) ** 2)));
    const best = ranked(means);
    const votes = answers.filter((p) => ranked(p)[0] === best[0]).length;
    views.replaceChildren(
      h("table", { class: "table" },
        h("caption", {}, `Eight flips and turns: ${votes} of 8 answer ${classes[best[0]]}`),
        h("thead", {}, h("tr", {}, ...["class", "mean", "spread", "least", "most"].map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, ...best.map((i) => {
          const all = answers.map((p) => p[i]);
          return h("tr", {}, h("th", { scope: "row" }, classes[i]),
            ...[means[i], spread(i), Math.min(...all), Math.max(...all)].map((v) => h("td", {}, percent(v))));
        }))));
    place.dispatchEvent(new CustomEvent("views", { detail: { means } }));
  }

  /** Cover one place after the other with the mean colour, and paint how far the answer falls. */
  async function explain() {
    if (!state.probabilities) return;
    const index = ranked(state.probabilities)[0];
    const whole = state.probabilities[index];
    const places = [];
    for (let top = 0; top <= SIDE - PATCH; top += STEP)
      for (let left = 0; left <= SIDE - PATCH; left += STEP) places.push({ top, left });
    // Places far apart come first, so that a coarse map is there early.
    places.sort((a, b) => order(a) - order(b));
    const inputs = (function* () {
      for (const { top, left } of places) {
        const covered = state.input.slice();
        for (let y = top; y < top + PATCH; y++)
          covered.fill(0, (y * SIDE + left) * 3, (y * SIDE + left + PATCH) * 3);
        yield covered;
      }
    })();
    const context = overlay.getContext("2d");
    context.clearRect(0, 0, SIDE, SIDE);
    why.running = true;
    why.textContent = "Stop";
    let done = 0, worst = { fall: -1 };
    try {
      for await (const probabilities of runAll(inputs)) {
        const { top, left } = places[done++];
        const fall = whole - probabilities[index];
        if (fall > worst.fall) worst = { fall, top, left };
        // Orange where the answer needs what was covered, blue where it is better off without.
        context.fillStyle = fall > 0 ? `rgb(230 120 0 / ${0.85 * Math.min(1, fall / whole)})`
          : `rgb(0 90 200 / ${0.85 * Math.min(1, -fall / Math.max(1 - whole, 0.05))})`;
        const middle = (PATCH - STEP) / 2;
        context.fillRect(left + middle, top + middle, STEP, STEP);
        whyText.textContent = `${done} of ${places.length} places covered`;
        await nextFrame();
        if (!why.running) break;
      }
      if (done && worst.fall >= 0)
        whyText.textContent =
          `${done} of ${places.length} places covered. The answer "${classes[index]}" depends most on what is ` +
          `around row ${worst.top + PATCH / 2}, column ${worst.left + PATCH / 2} of ${SIDE}: without it, ` +
          `its probability falls from ${percent(whole)} to ${percent(whole - worst.fall)}.`;
    } catch (error) {
      fail(error);
    }
    why.running = false;
    why.textContent = "Which pixels decided?";
  }
  const order = ({ top, left }) => {
    const [row, column] = [top / STEP, left / STEP];
    const level = [4, 2, 1].findIndex((n) => row % n === 0 && column % n === 0);
    return level * 1e6 + row * 1e3 + column;
  };

  function showChannels() {
    if (!state.relu1) return;
    const { relu1 } = state;
    const count = 96, side = 55, across = 12, gap = 1;
    const tile = (channel) => {
      const image = new ImageData(side, side);
      let most = 0;
      for (let i = 0; i < side * side; i++) most = Math.max(most, relu1[i * count + channel]);
      for (let i = 0; i < side * side; i++) {
        const grey = most ? (255 * relu1[i * count + channel]) / most : 0;
        image.data.set([grey, grey, grey, 255], i * 4);
      }
      return { image, most };
    };
    const cell = side + gap;
    const sheet = h("canvas", {
      width: across * cell, height: (count / across) * cell, role: "img",
      "aria-label": "conv1's 96 responses, each from black, none, to white, its own maximum",
    });
    const context = sheet.getContext("2d");
    for (let i = 0; i < count; i++)
      context.putImageData(tile(i).image, (i % across) * cell, Math.floor(i / across) * cell);
    const large = h("canvas", { width: side, height: side, role: "img", class: "live-large" });
    const pick = slider("Channel", {
      min: 0, max: count - 1, step: 1, value: 0, show: String,
      change: () => {
        const channel = pick.input.valueAsNumber;
        const { image, most } = tile(channel);
        large.getContext("2d").putImageData(image, 0, 0);
        const text = `channel ${channel}, group ${channel < count / 2 ? 1 : 2}: at most ${most.toFixed(0)}`;
        large.setAttribute("aria-label", text);
        caption.textContent = text;
      },
    });
    const caption = h("p", { class: "live-note" });
    sheet.addEventListener("pointermove", (event) => {
      const [x, y] = [event.offsetX / sheet.clientWidth, event.offsetY / sheet.clientHeight];
      const channel = Math.floor(y * (count / across)) * across + Math.floor(x * across);
      pick.input.value = Math.min(Math.max(channel, 0), count - 1);
      pick.input.dispatchEvent(new Event("input"));
    });
    responses.replaceChildren(sheet, pick.element, large, caption);
    pick.input.dispatchEvent(new Event("input"));
  }
});
