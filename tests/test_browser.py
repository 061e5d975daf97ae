"""Headless Chromium reads the built book as a reader does, and nothing outside it can be reached.

``make browse`` runs these tests; ``make test`` leaves them out where the book is not built or no
Chromium is found. ``SHOTS=folder`` stores a picture of each page in each of its four forms.
"""

import os
import shutil
from contextlib import contextmanager
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Error, expect, sync_playwright
from serve import Quiet
from sphinx_external_toc.parsing import parse_toc_yaml

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "_build" / "html"
PAGES = list(parse_toc_yaml(ROOT / "_toc.yml"))
DEVICES = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
}
# Milliseconds, for a machine that does much else.
PATIENCE = 120_000
expect.set_options(timeout=PATIENCE)

# What a reader would see wrong on the page that is open.
INSPECT = r"""
async (width) => {
  const faults = [];
  const article = document.querySelector("article") ?? document.body;
  const start = (text) => text.trim().slice(0, 40);
  const name = (element) =>
    `<${element.localName} class="${element.className}"> ${start(element.textContent)}`;

  await window.MathJax?.startup?.promise;
  for (const formula of article.querySelectorAll(".math"))
    if (!formula.querySelector("mjx-container")) faults.push(`not typeset: ${name(formula)}`);
  for (const error of article.querySelectorAll("mjx-merror, [data-mjx-error]"))
    faults.push(`wrong formula: ${name(error)}`);
  const texts = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const { data, parentElement } = texts.currentNode;
    if (/\\[([]|\$[^$]+\$/.test(data) && !parentElement.closest("pre, code, script, style"))
      faults.push(`raw formula: ${start(data)}`);
  }

  for (const image of document.images) {
    await image.decode().catch(() => {});
    if (!image.naturalWidth) faults.push(`no figure: ${image.src.slice(0, 80)}`);
  }

  const tooWide = (element) => element.getBoundingClientRect().right > width + 1;
  const scrolls = (element) => {
    const { overflowX } = getComputedStyle(element);
    if (/auto|scroll/.test(overflowX)) return true;
    const cutsOff = overflowX !== "visible" && !tooWide(element);
    return element !== article && !cutsOff && scrolls(element.parentElement);
  };
  for (const element of article.querySelectorAll("*"))
    if (tooWide(element) && !scrolls(element.parentElement)
        && !element.closest("mjx-assistive-mml"))
      faults.push(`wider than the screen: ${name(element)}`);
  if (document.scrollingElement.scrollWidth > width + 1) faults.push("the page scrolls sideways");

  // WCAG 2: relative luminance of sRGB, and a contrast of at least 4.5 for text.
  const rgba = (color) => {
    const [r, g, b, a = 1] = color.match(/[\d.]+/g).map(Number);
    return { rgb: [r, g, b], a };
  };
  const luminance = (rgb) => rgb
    .map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const backgrounds = new Map([[null, [255, 255, 255]]]);
  const background = (element) => {
    if (!backgrounds.has(element)) {
      const { rgb, a } = rgba(getComputedStyle(element).backgroundColor);
      const behind = a === 1 ? rgb : background(element.parentElement);
      backgrounds.set(element, behind.map((v, i) => a * rgb[i] + (1 - a) * v));
    }
    return backgrounds.get(element);
  };
  for (const element of article.querySelectorAll("h1, h2, h3, p, li, td, th, dt, a, span, code")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !element.checkVisibility({ checkVisibilityCSS: true })) continue;
    if (element.closest("mjx-container, .headerlink, .search-button__kbd-shortcut")) continue;
    const [dark, light] = [rgba(getComputedStyle(element).color).rgb, background(element)]
      .map(luminance).sort((x, y) => x - y);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < 4.5) faults.push(`contrast of ${contrast.toFixed(1)}: ${name(element)}`);
  }
  return faults;
}
"""


def find_chromium():
    """Return the path of $CHROMIUM, else of a Chromium on the PATH, else None."""
    names = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome", "chrome")
    return next((path for name in names if name and (path := shutil.which(name))), None)


def leave_out(reason):
    """Skip the tests, or fail where they must run."""
    (pytest.fail if os.environ.get("REQUIRE_BROWSER") else pytest.skip)(reason)


@contextmanager
def served(folder):
    """Serve a folder on the loopback address; give the URL of its root."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        try:
            chromium = playwright.chromium.launch(
                executable_path=find_chromium(),  # without one, Playwright's own if installed
                args=[
                    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                    "--js-flags=--expose-gc",  # for the test of the memory
                ],
            )
        except Error as error:
            leave_out(
                "No Chromium starts. Install one (Debian, Ubuntu: apt install chromium), name it "
                f"in $CHROMIUM, or: .venv/bin/playwright install chromium\n{error}"
            )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def book():
    """Address of the built book."""
    if missing := [page for page in PAGES if not (HTML / f"{page}.html").is_file()]:
        leave_out(f"The book is not built, or not to the end: no {missing[0]}.html. Run: make book")
    with served(HTML) as address:
        yield address


@contextmanager
def reading(browser, address, device="desktop", leaves=False):
    """Open an empty page on a device; give it and the list of faults that it will report.

    A test that `leaves` a page may end what that page still loads.
    """
    faults = []

    def note_request(request):
        if not request.url.startswith((address, "data:", "blob:")):
            faults.append(f"needs the network: {request.url}")

    def note_response(response):
        if response.status >= 400:
            faults.append(f"status {response.status}: {response.url}")

    def note_failure(request):
        if not (leaves and request.failure == "net::ERR_ABORTED"):
            faults.append(f"failed: {request.url} ({request.failure})")

    def note_message(message):
        if message.type == "error":
            faults.append(f"on the console: {message.text} {message.location['url']}")

    with browser.new_context(**DEVICES[device]) as context:
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("request", note_request)
        page.on("response", note_response)
        page.on("requestfailed", note_failure)
        page.on("pageerror", lambda error: faults.append(f"script error: {error}"))
        page.on("console", note_message)
        yield page, faults


def unfold(page):
    """Open all that is folded on the page; return how many solutions there are."""
    article = page.locator("article")
    folded = article.locator("details:not([open]) > summary, button.toggle-button-hidden")
    if folded.count():
        folded.first.click()  # as a reader does; the others are opened at once, which is quicker
        folded.evaluate_all("all => all.forEach((each) => each.click())")
    assert folded.count() == article.locator(".toggle-hidden").count() == 0
    return article.locator("section#exercises details").count()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", [*PAGES, "search", "genindex"])
def test_page(browser, book, name, device):
    with reading(browser, book, device) as (page, faults):
        page.emulate_media(color_scheme="light", reduced_motion="reduce")
        page.goto(f"{book}{name}.html")
        solutions = unfold(page)
        assert solutions or not name.startswith("notebooks/")
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            expect(page.locator("html")).to_have_attribute("data-theme", theme)
            faults += page.evaluate(INSPECT, page.viewport_size["width"])
            if folder := os.environ.get("SHOTS"):
                picture = f"{name.replace('/', '-')}-{device}-{theme}.png"
                page.evaluate("scrollTo(0, 0)")
                page.screenshot(path=Path(folder, picture), full_page=True)
        assert faults == []


def test_next_leads_through_the_whole_book_and_previous_back(browser, book):
    with reading(browser, book, leaves=True) as (page, faults):
        page.goto(book)  # the root leads to the first page
        for before, name in zip([None, *PAGES], PAGES, strict=False):
            if before:
                page.locator("a.right-next").click()
            page.wait_for_url(f"{book}{name}.html", wait_until="domcontentloaded")
            back = [link.evaluate("link => link.href") for link in page.locator(".left-prev").all()]
            assert back == ([f"{book}{before}.html"] if before else [])
        assert page.locator("a.right-next").count() == 0
        assert faults == []


@pytest.mark.parametrize("device", DEVICES)
def test_search(browser, book, device):
    with reading(browser, book, device, leaves=True) as (page, faults):
        page.goto(f"{book}{PAGES[-1]}.html")
        page.locator("button.search-button__button:visible").first.click()
        page.locator("input[type=search]:visible").fill("local_response_normalization")
        page.keyboard.press("Enter")
        # The results come one after the other, the best first.
        page.locator("#search-results li a[href*='03_derive_local']").first.wait_for()
        page.locator("#search-results li a").first.click()
        page.locator("article", has_text="local_response_normalization").wait_for()
        assert faults == []


def test_switch_to_dark_and_back_is_kept(browser, book):
    with reading(browser, book, leaves=True) as (page, faults):
        page.emulate_media(color_scheme="light")
        page.goto(f"{book}{PAGES[0]}.html")
        html, seen = page.locator("html"), []
        for _ in range(3):
            page.locator(".theme-switch-button:visible").click()
            seen.append((html.get_attribute("data-mode"), html.get_attribute("data-theme")))
            page.reload()
            expect(html).to_have_attribute("data-theme", seen[-1][1])
        assert {("light", "light"), ("dark", "dark"), ("auto", "light")} == set(seen)
        assert faults == []


def test_menu_of_the_phone_leads_to_a_chapter(browser, book):
    with reading(browser, book, "phone", leaves=True) as (page, faults):
        page.goto(f"{book}{PAGES[0]}.html")
        link = page.locator(f"nav a[href$='{PAGES[1].rpartition('/')[2]}.html']:visible").first
        assert not link.is_visible()
        page.locator("button.primary-toggle:visible").click()
        link.click()
        page.wait_for_url(f"{book}{PAGES[1]}.html")
        assert faults == []


def test_copy_button_copies_the_code_of_its_cell(browser, book):
    with reading(browser, book) as (page, _):
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        chapter = next(name for name in PAGES if name.startswith("notebooks/"))
        page.goto(f"{book}{chapter}.html")
        cell = page.locator(".cell_input .highlight:visible").first
        cell.hover()
        cell.locator("button.copybtn").click()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied.strip() == cell.locator("pre").inner_text().strip()


MATHJAX = '<script src="/_static/mathjax/tex-chtml.js"></script>'


@pytest.fixture
def faults_of(browser, book, tmp_path):
    """Give a function that reads a page of the given body on a phone and returns its faults."""

    def read(body):
        (tmp_path / "_static").symlink_to(HTML / "_static")
        (tmp_path / "empty.png").touch()
        (tmp_path / "x.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
        (tmp_path / "index.html").write_text(
            '<!doctype html><meta name="viewport" content="width=device-width">'
            f'<link rel="icon" href="data:,"><article>{body}</article>'
        )
        with served(tmp_path) as address, reading(browser, address, "phone") as (page, faults):
            page.goto(address)
            return faults + page.evaluate(INSPECT, page.viewport_size["width"])

    return read


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<script src="https://cdn.example/x.js"></script>', "needs the network: https://cdn"),
        ('<img src="https://192.0.2.1/dot.png">', "needs the network: https://192.0.2.1"),
        ('<link rel="stylesheet" href="none.css">', "status 404"),
        ("<script>console.error('lost')</script>", "on the console: lost"),
        ("<script>undefined.lost</script>", "script error"),
        ('<img src="/empty.png">', "no figure"),
        ('<span class="math">\\(x\\)</span>', "not typeset"),
        (f'{MATHJAX}<span class="math">\\(\\frac\\)</span>', "wrong formula"),
        ("<p>the size $x$ is</p>", "raw formula"),
        ("<p>the size \\(x\\) is</p>", "raw formula"),
        ('<div style="width: 500px">wide</div>', "wider than the screen"),
        ('<p style="overflow: hidden"><img width="500" src="/x.svg"></p>', "wider than the screen"),
        ('<p style="color: #999">pale</p>', "contrast of 2.8"),
        ('<p style="background: #000a">dim</p>', "contrast of"),
    ],
)
def test_fault_is_found(faults_of, body, fault):
    assert any(found.startswith(fault) for found in faults_of(body))


def test_sound_page_has_no_fault(faults_of):
    assert (
        faults_of(
            f'{MATHJAX}<p><span class="math">\\(x^2\\)</span> costs 5 $</p><pre>a = "$x$"</pre>'
            '<div style="overflow-x: auto"><p style="width: 500px">a wide table</p></div>'
        )
        == []
    )
