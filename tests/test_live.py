"""The live parts of the built pages in headless Chromium, offline, beside the library's numbers.

``make browse`` runs these tests too. Without live parts in the built book they are left out.
"""

import base64
import io
import itertools
import json
import re
import statistics
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pandas as pd
import PIL.Image
import pytest
from playwright.sync_api import expect
from test_browser import HTML, PAGES, ROOT, leave_out, reading
from test_browser import book as book  # a fixture
from test_browser import browser as browser

from alexnet_lib.files import CARRIED, RESULTS
from alexnet_lib.finetuning.classifier import load_classifier
from alexnet_lib.images.batches import eight_views
from alexnet_lib.images.folder import read_folder
from alexnet_lib.images.preprocessing import IMAGENET_MEAN, preprocess_input
from alexnet_lib.images.reading import read_image
from alexnet_lib.images.splits import apply_split, read_split
from alexnet_lib.port.architecture import describe
from alexnet_lib.port.layers import LocalResponseNormalization

CHAPTERS = {
    "bytes": "notebooks/01_convert_the_weights",
    "receptive": "notebooks/02_read_the_architecture",
    "lrn": "notebooks/03_derive_local_response_normalization",
    "port": "notebooks/05_port_your_own_network",
    "matrix": "notebooks/09_read_the_confusion_matrix",
}
LIVE = {"try": "book/try", **CHAPTERS}
TOLERANCE = 2e-3  # of a probability: what half precision may cost, and other rounding
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"

# A promise of the answer to a file: probabilities and milliseconds.
ANSWER = """
(wanted) => { window.answered = new Promise((resolve) =>
  document.querySelector("[data-live=try]").addEventListener("answer", function listen(event) {
    if (event.detail.name !== wanted) return; // one to an earlier picture
    this.removeEventListener("answer", listen);
    resolve([[...event.detail.probabilities], event.detail.time]);
  })) }
"""
numbers = itertools.count()


@pytest.fixture(scope="module")
def site(book):
    """Address of a book that was built with its live parts."""
    if not (HTML / "live").is_dir():
        built = "The book is built without its live parts."
        leave_out(built) if AXE.is_file() else pytest.skip(f"{built} Install: make live")
    return book


@pytest.fixture(scope="module")
def trial(browser, site):
    """The page "Try the network", with the network loaded."""
    with reading(browser, site) as (page, faults):
        page.goto(f"{site}book/try.html")
        page.locator("[data-live=try][data-ready]").wait_for()
        yield page
        assert faults == []


@pytest.fixture(scope="module")
def model():
    return load_classifier().model


def ask(page, picture):
    """Choose a file of these bytes, or these pixels as PNG; return probabilities and time."""
    if isinstance(picture, np.ndarray):
        picture = cv2.imencode(".png", picture)[1].tobytes()
    name = f"picture {next(numbers)}"
    page.evaluate(ANSWER, name)
    file = {"name": name, "mimeType": "image/png", "buffer": picture}
    page.locator("[data-live=try] input[type=file]").set_input_files(files=file)
    probabilities, time = page.evaluate("window.answered")
    return np.array(probabilities), time


def seen(page):
    """Return the pixels that the network gets, uint8 BGR."""
    url = page.evaluate("document.querySelector('.live-seen').toDataURL()")  # PNG, which is exact
    data = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def check_answers(page, model, pictures):
    """Compare the page's probabilities with Keras', for arrays of pixels."""
    answers, times = zip(*(ask(page, pixels) for pixels in pictures), strict=True)
    x = np.concatenate([preprocess_input(pixels, "stretch") for pixels in pictures])
    expected = model.predict(x, verbose=0)
    worst = np.abs(np.array(answers) - expected).max()
    same = (np.argmax(answers, axis=1) == expected.argmax(axis=1)).mean()
    print(
        f"{len(pictures)} pictures: probabilities within {worst:.1e} of Keras', same answer for "
        f"{same:.1%}, {statistics.median(times):.0f} ms each"
    )
    assert worst <= TOLERANCE
    assert same >= 0.99


def test_pages_without_a_live_part_load_nothing_of_it(site):
    for name in [*PAGES, "search", "genindex"]:
        text = (HTML / f"{name}.html").read_text("utf-8")
        loads = re.search(r'(src|href)="[^"]*\blive/', text) is not None
        assert loads == ("data-live=" in text) == (name in LIVE.values()), name


def test_drawn_scenes(trial, model):
    names = [Path(file).name for file in sorted((HTML / "live").glob("scene-*.png"))]
    assert len(names) == 21
    check_answers(trial, model, [read_image(HTML / "live" / name) for name in names])


def test_photographs(trial, model, ucmerced):
    images = read_folder(ucmerced)
    chosen = [images.files[i] for i in apply_split(images, read_split())["test"]]
    check_answers(trial, model, [read_image(ucmerced / file) for file in chosen])


def test_scene_is_taken_with_one_click(trial):
    trial.get_by_role("button", name="drawn scene: harbor").click()
    expect(trial.locator(".live-bars li").first).to_contain_text("harbor")
    assert trial.locator(".live-bars li").count() == 5
    expect(trial.get_by_role("status").first).to_have_text(
        re.compile(r"drawn harbor: harbor, \d+\.\d %\. Computed here in \d+ ms\.")
    )


def noise(height, width):
    generator = np.random.default_rng(height)
    pixels = generator.integers(0, 256, (height, width, 3), np.uint8)
    return cv2.GaussianBlur(pixels, (0, 0), 1.5)


SHAPES = [(227, 227), (256, 256), (454, 908), (300, 1000), (100, 80), (150, 600), (601, 97)]


@pytest.mark.parametrize("shape", [*SHAPES, (1, 1), (2, 3000)])
def test_resizing_is_the_librarys(trial, shape):
    pixels = noise(*shape)
    ask(trial, pixels)
    expected = preprocess_input(pixels, "stretch")[0] + IMAGENET_MEAN
    assert np.abs(seen(trial) - expected).max() <= 1 + 1e-3


def encoded(mode, form, **options):
    """Return a picture of a mode of Pillow's in a file format."""
    rgb = PIL.Image.fromarray(noise(300, 260))
    rgb.putalpha(PIL.Image.fromarray(np.tile(np.arange(260, dtype=np.uint8), (300, 1))))
    data = io.BytesIO()
    rgb.convert(mode).save(data, form, **options)
    return data.getvalue()


def turned():
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    return encoded("RGB", "JPEG", exif=exif, quality=95, subsampling=0)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encoded("RGB", "JPEG", quality=90), id="jpeg"),
        pytest.param(turned(), id="a camera's orientation"),
        pytest.param(encoded("L", "PNG"), id="grey"),
        pytest.param(encoded("P", "PNG"), id="palette"),
        pytest.param(encoded("RGBA", "PNG"), id="transparent"),
        pytest.param(encoded("RGB", "WEBP", lossless=True), id="webp"),
        pytest.param(encoded("RGB", "BMP"), id="bmp"),
        pytest.param(encoded("RGB", "GIF"), id="gif"),
    ],
)
def test_reading_is_the_librarys(trial, tmp_path, data):
    path = tmp_path / "picture"
    path.write_bytes(data)
    ask(trial, data)
    expected = preprocess_input(read_image(path), "stretch")[0] + IMAGENET_MEAN
    assert np.abs(seen(trial) - expected).max() <= 1 + 1e-3


BROKEN = {
    "empty": b"",
    "text": b"hello",
    "pdf": b"%PDF-1.7\n" + b"0" * 999,
    "video": b"\0\0\0\x18ftypisom" + b"\0" * 999,
    "webm": b"\x1aE\xdf\xa3" + b"\0" * 999,
    "tiff": b"II*\0" + b"\0" * 999,
    "heic": b"\0\0\0\x18ftypheic" + b"\0" * 999,
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "cut jpeg": encoded("RGB", "JPEG")[:200],
    "cut png": encoded("RGB", "PNG")[:3000],
    "damaged png": encoded("RGB", "PNG").replace(b"IDAT", b"IDAX"),
    # 60,000 x 60,000 pixels of one colour, as its head says; the rest is missing.
    "bomb": encoded("RGB", "PNG")[:16] + (60_000).to_bytes(4) * 2 + encoded("RGB", "PNG")[24:],
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_picture_gets_a_sentence(trial, kind):
    status = trial.get_by_role("status").first
    file = {"name": f"{kind}.bin", "mimeType": "image/png", "buffer": BROKEN[kind]}
    trial.locator("[data-live=try] input[type=file]").set_input_files(files=file)
    expect(status).to_have_text(re.compile(rf"^{kind}\.bin (is|has) .+\.$", re.DOTALL))
    probabilities, _ = ask(trial, noise(256, 256))  # and the page goes on working
    np.testing.assert_allclose(probabilities.sum(), 1, atol=1e-5)


def test_forty_megapixels_are_answered(trial, model):
    pixels = cv2.resize(noise(500, 800), (8000, 5000), interpolation=cv2.INTER_LINEAR)
    data = cv2.imencode(".jpg", pixels)[1].tobytes()
    got, _ = ask(trial, data)
    x = preprocess_input(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), "stretch")
    assert np.abs(got - model.predict(x, verbose=0)[0]).max() <= TOLERANCE


def test_crop_turn_and_mirror(trial, model):
    pixels = noise(300, 400)
    ask(trial, pixels)
    place = trial.locator("[data-live=try]")
    for name, value in (("Zoom", "2"), ("Left to right", "1"), ("Top to bottom", "0.5")):
        place.get_by_role("slider", name=name).fill(value)
    part = preprocess_input(pixels[75:225, 200:], "stretch")[0] + IMAGENET_MEAN
    assert np.abs(seen(trial) - part).max() <= 1 + 1e-3
    before = seen(trial)
    place.get_by_role("button", name="Turn").click()
    np.testing.assert_array_equal(seen(trial), np.rot90(before, -1))
    place.get_by_role("button", name="Mirror").click()
    np.testing.assert_array_equal(seen(trial), np.rot90(before, -1)[:, ::-1])
    place.get_by_role("button", name="Turn").click()
    np.testing.assert_array_equal(seen(trial), np.rot90(np.rot90(before, -1)[:, ::-1], -1))
    place.get_by_role("button", name="Reset").click()
    whole = preprocess_input(pixels, "stretch")[0] + IMAGENET_MEAN
    assert np.abs(seen(trial) - whole).max() <= 1 + 1e-3


def test_eight_views(trial, model):
    pixels = noise(256, 256)
    ask(trial, pixels)
    trial.evaluate(
        "window.next = new Promise((resolve) => document.querySelector('[data-live=try]')"
        ".addEventListener('views', ({ detail }) => resolve(detail.means), { once: true })), 1"
    )
    trial.get_by_role("button", name="Ask all eight views").click()
    means = trial.evaluate("window.next")
    views = np.asarray(eight_views(preprocess_input(pixels, "stretch")))[:, 0]
    expected = model.predict(views, verbose=0).mean(axis=0)
    assert np.abs(np.array(means) - expected).max() <= TOLERANCE
    assert trial.locator("[data-live=try] table tbody tr").count() == 5


def test_covering_shows_its_progress_and_can_be_stopped(trial):
    ask(trial, noise(256, 256))
    button = trial.get_by_role("button", name="Which pixels decided?")
    button.click()
    status = trial.locator("[data-live=try] [role=status]").last
    expect(status).to_have_text(re.compile(r"^\d+ of 144 places covered$"))
    trial.get_by_role("button", name="Stop").click()
    expect(button).to_be_visible()
    done = int(re.match(r"\d+", status.inner_text())[0])
    trial.wait_for_timeout(300)
    assert int(re.match(r"\d+", status.inner_text())[0]) == done < 144
    painted = "document.querySelectorAll('.live-stack canvas')[1].getContext('2d')"
    assert trial.evaluate(f"{painted}.getImageData(0, 0, 227, 227).data.some((v) => v > 0)")


def test_responses_of_conv1(trial, model):
    import keras

    pixels = read_image(HTML / "live" / "scene-harbor.png")
    ask(trial, pixels)
    trial.get_by_role("button", name="Show conv1's 96 responses").click()
    relu1 = keras.Model(model.input, model.get_layer("relu1").output)
    expected = relu1.predict(preprocess_input(pixels, "stretch"), verbose=0)[0]
    pick = trial.get_by_role("slider", name="Channel")
    for channel in (0, 47, 48, 95):
        pick.fill(str(channel))
        text = trial.locator(".live-large").get_attribute("aria-label")
        group, most = re.fullmatch(rf"channel {channel}, group (\d): at most (\d+)", text).groups()
        assert int(group) == 1 + channel // 48
        assert abs(int(most) - expected[..., channel].max()) <= 1


def test_memory_does_not_grow(browser, trial):
    if not Path("/proc/self/status").is_file():
        pytest.skip("this system does not say how much memory a process has")
    session = browser.new_browser_cdp_session()
    page_session = trial.context.new_cdp_session(trial)
    page_session.send("Performance.enable")

    def memory():
        """Return the megabytes that the processes of pages hold, without garbage and files."""
        page_session.send("HeapProfiler.collectGarbage")
        for worker in trial.workers:  # each has a heap of its own, which no session reaches
            worker.evaluate("gc()")
        trial.wait_for_timeout(1000)  # the system takes back what was freed
        processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
        total = 0
        for process in processes:
            if process["type"] == "renderer":
                status = Path(f"/proc/{process['id']}/status").read_text()
                total += sum(map(int, re.findall(r"Rss(?:Anon|Shmem):\s+(\d+)", status)))
        return total / 1024

    def elements():
        metrics = page_session.send("Performance.getMetrics")["metrics"]
        found = {metric["name"]: metric["value"] for metric in metrics}
        return found["Nodes"], found["JSEventListeners"]

    pictures = [noise(400 + i, 500) for i in range(10)]
    used, kept = [], []
    # What leaks grows with every hundred pictures; what settles or fluctuates does not.
    for count in (20, 100, 100, 100):
        for i in range(count):
            ask(trial, pictures[i % 10])
        used.append(min(memory() for _ in range(3)))
        kept.append(elements())
        if len(used) > 1 and used[-1] - used[-2] < 30:
            break
    print("MB after 20 pictures, and after each 100 more:", *(f"{value:.0f}" for value in used))
    assert used[-1] - used[-2] < 30, used  # inputs alone would be 62, what conv1 answers 116
    assert (np.subtract(kept[-1], kept[0]) < 100).all(), kept  # fewer than one a picture


def test_first_visit_is_light_and_the_second_loads_no_network(browser, site):
    with reading(browser, site) as (page, faults):
        asked = []
        page.context.on("request", lambda request: asked.append(request.url))
        for _ in range(2):
            asked.append("visit")
            page.goto(f"{site}book/try.html")
            page.locator("[data-live=try][data-ready]").wait_for()
        second = len(asked) - asked[::-1].index("visit")
        paths = {url.removeprefix(site).partition("?")[0] for url in asked[:second]} - {"visit"}
        files = [HTML / path for path in paths if (HTML / path).is_file()]
        size = sum(file.stat().st_size for file in files)
        print(f"first visit: {size / 1e6:.1f} MB in {len(files)} files")
        assert {"network.bin", "runtime.bin"} <= {file.name for file in files}
        assert size <= 16e6
        assert not [url for url in asked[second:] if ".bin" in url]
        assert faults == []


def test_page_opened_from_a_file_names_what_to_do(browser, site):
    with reading(browser, "file:") as (page, _):
        page.goto((HTML / "book" / "try.html").as_uri())
        expect(page.get_by_role("status").first).to_contain_text("make serve")
        page.goto((HTML / f"{CHAPTERS['lrn']}.html").as_uri())
        page.locator("[data-live=lrn][data-ready]").wait_for()  # these need no server


@pytest.mark.parametrize("part", LIVE)
def test_without_scripts_the_text_is_there(browser, site, part):
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(f"{site}{LIVE[part]}.html")
        place = page.locator(f"[data-live={part}]")
        assert page.locator("article p").first.is_visible()
        if part == "try":
            assert "needs JavaScript" in place.locator(".live-fallback").inner_text()
        else:  # the chapter's figure is the whole of it
            assert page.locator("article :is(img, pre)").count()
            assert place.inner_text().strip() == ""


@pytest.fixture
def part(browser, site, request):
    """A chapter's live part, on a desktop."""
    with reading(browser, site) as (page, faults):
        page.goto(f"{site}{CHAPTERS[request.param]}.html")
        place = page.locator(f"[data-live={request.param}]")
        expect(place).to_have_attribute("data-ready", "")
        yield place
        assert faults == []


def data_of(place):
    return json.loads(place.locator("script").text_content())


@pytest.mark.parametrize("part", ["lrn"], indirect=True)
def test_normalization_is_the_librarys(part):
    draw = np.random.default_rng(0)
    channels = len(data_of(part)["values"])
    names = part.get_by_role("slider").evaluate_all("all => all.map((input) => input.ariaLabel)")
    assert names[channels:] == ["local_size", "alpha", "beta", "k"]
    move = """
      (place, { values, copied }) => {
        const sliders = [...place.querySelectorAll("input[type=range]")];
        place.querySelector("input[type=checkbox]").checked = copied;
        sliders.forEach((slider, i) => {
          slider.value = values[i];
          slider.dispatchEvent(new Event("input"));
        });
        const shown = [...place.querySelectorAll("span[data-exact]")];
        const exact = shown.map(({ dataset }) => Number(dataset.exact));
        return [sliders.map((slider) => slider.valueAsNumber), exact];
      }"""
    for copied in [False, True] * 10:  # each setting is compiled anew
        values = [*draw.uniform(0, 1400, channels), draw.integers(1, 10), draw.uniform(-7, -2)]
        values = [*map(float, values), draw.uniform(0, 1.5), draw.uniform(0.1, 5)]
        values, shown = part.evaluate(move, {"values": values, "copied": copied})
        x, (local_size, power, beta, k) = np.float32([values[:channels]]), values[channels:]
        local_size = int(local_size)  # the slider has taken the odd number that was nearest
        alpha = 10**power * (local_size if copied else 1)
        layer = LocalResponseNormalization.from_caffe(local_size, alpha, beta, k)
        expected = np.asarray(layer(x))[0]
        assert np.abs(np.array(shown) - expected).max() <= 1e-5 * max(1, expected.max())


@pytest.mark.parametrize("part", ["receptive"], indirect=True)
def test_receptive_fields_are_those_of_describe(part):
    rows = [row for row in describe() if row.layer.type in ("Convolution", "Pooling")]
    choose = part.get_by_role("combobox", name="Layer")
    for row in rows:
        choose.select_option(row.layer.name)
        starts = []
        for unit in (0, 1, row.output_shape[0] - 1):
            part.get_by_role("slider", name="Row").fill(str(unit))
            first, last = map(int, part.get_attribute("data-rows").split(","))
            assert last - first + 1 == row.receptive_field
            starts.append(first)
        assert starts[1] - starts[0] == row.jump
        # The windows lie symmetrically, so that the last one ends as the first one begins.
        assert starts[0] + last == 226


@pytest.mark.parametrize("part", ["bytes"], indirect=True)
def test_bytes_are_labelled_as_the_chapters_reader_does(part):
    cells = nbformat.read(ROOT / f"{CHAPTERS['bytes']}.ipynb", 4).cells
    sources = [cell.source for cell in cells if cell.cell_type == "code"]
    data = bytes(data_of(part)["data"])
    (printed,) = [cell.outputs[0]["text"] for cell in cells if "row.hex(" in cell.source]
    assert data == bytes.fromhex("".join(line[6:53] for line in printed.splitlines()))
    chapter = {"data": data, "np": np}
    for beginning in ("def varint(", "def fields(", "FIELDS = {"):
        exec(next(source for source in sources if beginning in source), chapter)
    expected = [None] * len(data)

    def walk(position, end, message):
        for number, wire, start, stop in chapter["fields"](data, position, end):
            name = chapter["FIELDS"][message][number]
            value = {"name": data[start:stop].decode("latin-1"), "layers": "", "blobs": ""}.get(
                name
            )
            if name == "data":
                value = " ".join(map(str, np.frombuffer(data[start:stop], "<f4")))
            elif wire == 0:
                value = str(chapter["varint"](data, start)[0])
            expected[position:stop] = [(name, str(wire), value)] * (stop - position)
            if name in chapter["FIELDS"]:
                walk(start, stop, name)
            position = stop

    walk(0, len(data), "net")
    labels = part.evaluate("""
      (place) => [...place.querySelectorAll(".live-byte")].map((byte) => {
        byte.focus();
        return [byte.textContent, place.dataset.field, place.dataset.wire, place.dataset.value];
      })""")
    assert labels == [[f"{byte:02x}", *label] for byte, label in zip(data, expected, strict=True)]
    part.get_by_role("button", name="5 data 0.25 -1.0").focus()
    marked = part.locator(".live-body").evaluate_all("all => all.map((b) => b.textContent)")
    assert np.frombuffer(bytes.fromhex("".join(marked)), "<f4").tolist() == [0.25, -1.0]


@pytest.mark.parametrize("part", ["bytes"], indirect=True)
def test_bytes_are_walked_with_the_arrow_keys(part):
    part.locator(".live-byte").first.focus()
    for key, byte in (("ArrowRight", 1), ("ArrowDown", 17), ("ArrowLeft", 16), ("End", 63)):
        part.page.keyboard.press(key)
        assert part.get_attribute("data-byte") == str(byte)


@pytest.mark.parametrize("part", ["matrix"], indirect=True)
def test_confusion_matrix_is_the_chapters(part):
    table = pd.read_csv(RESULTS / "frozen_5fold" / "predictions.csv")
    published = pd.read_csv(CARRIED / "published_confusion_matrix.csv", index_col=0)
    order = part.get_by_role("combobox", name="Order")
    choose = part.get_by_role("combobox", name="Matrix")
    sure = part.get_by_role("slider", name="At least this sure")

    def shown():
        rects = part.locator(".live-cells > g").first.locator("g")
        texts = rects.evaluate_all("all => all.map((g) => Number(g.textContent || 0))")
        return np.array(texts).reshape(21, 21)

    assert (shown() == pd.crosstab(table["true"], table["predicted"])).all(axis=None)
    sure.fill("0.9")
    kept = table[table["probability"] >= 0.9]
    expected = pd.crosstab(kept["true"], kept["predicted"])
    assert (shown() == expected.reindex(columns=published.columns, fill_value=0)).all(axis=None)
    sure.fill("0")
    for by in ("recall", "precision", "near"):
        order.select_option(by)
        assert sorted(np.diag(shown())) == sorted(
            np.diag(pd.crosstab(table["true"], table["predicted"]))
        )
    order.select_option("recall")
    recall = np.diag(shown()) / shown().sum(axis=1)
    assert (np.diff(recall) >= 0).all()
    order.select_option("name")
    choose.select_option("published")
    assert (shown() == published.T.to_numpy()).all()


@pytest.mark.parametrize("part", ["matrix"], indirect=True)
def test_cells_of_the_matrix_are_walked_with_the_arrow_keys(part):
    part.get_by_role("application").focus()
    for _ in range(6):
        part.page.keyboard.press("ArrowDown")
    for _ in range(12):
        part.page.keyboard.press("ArrowRight")
    text = "of denseresidential answered as mediumresidential"
    expect(part.locator(".live-detail p").first).to_contain_text(text)
    count = int(part.get_attribute("data-count"))
    assert part.locator(".live-images li").count() == min(count, 12)


@pytest.mark.parametrize("part", ["port"], indirect=True)
def test_port_explorer_names_the_first_broken_layer(part):
    data = data_of(part)
    expect(part.get_by_role("radio").first).to_be_checked()
    assert part.get_attribute("data-first") == ""  # before a reader puts in a bug
    for name, errors in data["ports"].items():
        part.get_by_role("radio", name=name, exact=True).check()
        broken = [
            layer["layer"]
            for layer, error in zip(data["layers"], errors, strict=True)
            if error is None or error > data["limit"]
        ]
        assert part.get_attribute("data-first") == (broken or [""])[0]
        assert bool(broken) == (name != "no bug")
        part.get_by_role("slider", name="Layer").fill("0")
        first = data["layers"][0]["layer"]
        expect(part.locator("[aria-live]")).to_contain_text(f"{first} (")


@pytest.mark.parametrize("device", ["desktop", "phone"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_no_serious_fault(browser, site, name, device):
    if name not in LIVE.values() and device == "phone":
        pytest.skip("the same page, narrower")
    with reading(browser, site, device) as (page, faults):
        page.emulate_media(reduced_motion="reduce")  # no colour is on its way to another
        page.goto(f"{site}{name}.html")
        if name == LIVE["try"]:
            page.get_by_role("button", name="drawn scene: river").click()
            page.locator(".live-bars li").first.wait_for()
        page.add_script_tag(path=AXE)
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            expect(page.locator("html")).to_have_attribute("data-theme", theme)
            rules = {} if theme == "light" else {"runOnly": ["color-contrast"]}
            # axe is slow with the thousands of words of code, whose contrast test_page measures.
            found = page.evaluate(
                "(rules) => axe.run({ exclude: ['.highlight', 'dt.sig'] },"
                " { resultTypes: ['violations'], ...rules }).then(({ violations }) => violations"
                ".filter(({ impact }) => /serious|critical/.test(impact))"
                ".map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target)}`))",
                rules,
            )
            assert found == []
        assert faults == []
