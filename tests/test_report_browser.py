"""The report in a real browser: Debian's chromium, headless, with no network."""

import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, sync_playwright

from smoke.client import Answer, Failure
from smoke.compare import Comparison
from smoke.report import page as report
from smoke.samples import Sample
from tests import past_run
from tests.past_run import judged

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
HOSTILE = [
    "<script>window.hit = 1; alert(1)</script>",
    '</td></table></title></style><h1 class="x">taken over</h1>',
    '"><img src=x onerror="window.hit = 1">',
    "{{ 7 * 7 }} {% for x in y %}",
    "right \u202eot tfel",
    "nul \x00 escape \x1b[31m lone \ud800",
    "long " * 2_000,
    "عربي and English",
    "two\nlines 🦊",
]

HEADING = "41 of 52 samples are not as accepted"

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on the PATH: install it (apt-get install chromium)"
)

# What each visible text is written in, against the nearest background that is not see-through.
CONTRASTS = """() => {
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = colour => {
    const [r, g, b] = numbers(colour).map(
      v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    for (let each = element; each; each = each.parentElement) {
      const found = getComputedStyle(each).backgroundColor;
      if (numbers(found)[3] !== 0) return found;
    }
    return 'rgb(255, 255, 255)';
  };
  return [...document.querySelectorAll('body *')]
    .filter(each => [...each.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
    .filter(each => !each.closest('svg'))
    .map(each => {
      const [a, b] = [light(getComputedStyle(each).color), light(behind(each))];
      return [each.className || each.tagName, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
    });
}"""


def comparisons() -> Iterator[Comparison]:
    """A bit of everything, said by those who would rather be markup."""
    for number, text in enumerate(HOSTILE):
        truth = text[:40] if number % 2 else "good"
        sample = Sample(f"{number} <b>", text, text if number == 1 else None, truth, (text[:40],))
        yield judged(sample, (truth, 0.5), Answer(text[:90], 0.9))
    for number in range(40):
        score = 0.5 + number / 1e5
        yield judged(
            Sample(f"same-{number}", "x", label="good"), ("good", 0.5), Answer("good", score)
        )
    yield judged(Sample("fixed", "x", label="good"), ("bad", 0.5), Answer("good", 0.5))
    yield judged(Sample("new", "x"), None, Answer("good", 0.5))
    yield judged(Sample("failed", "x"), ("good", 0.5), Failure(HOSTILE[0], 503))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a run, in a folder of an awkward name."""
    app = past_run.leave(
        tmp_path_factory.mktemp("app") / "a b é", comparisons(), {"0 <b>": [0.412, 0.409]}
    )
    return report.write(app)[2].as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context(offline=True, viewport={"width": 1200, "height": 900})
    made.set_default_timeout(10_000)
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext, address: str) -> Page:
    opened = context.new_page()
    opened.goto(address)
    return opened


def test_the_page_needs_no_other_file_and_says_nothing_on_the_console(
    context: BrowserContext, address: str
) -> None:
    page = context.new_page()
    asked: list[str] = []
    said: list[str] = []

    def refuse(dialog: Dialog) -> None:
        said.append(dialog.message)
        dialog.dismiss()

    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", refuse)
    page.goto(address)
    page.wait_for_load_state("networkidle")
    assert asked == [address]
    assert said == []


def test_text_that_tries_to_be_markup_stays_text(page: Page) -> None:
    assert page.evaluate("window.hit") is None
    assert page.locator("script, img, iframe, .x, b").count() == 0
    assert page.locator("h1").all_inner_texts() == [HEADING]
    texts = page.locator("td.text").all_text_contents()
    for each in HOSTILE[:4]:
        assert any(text.startswith(each) for text in texts)
    assert "right \\u202eot tfel" in texts
    assert "nul \\x00 escape \\x1b[31m lone \\ud800" in texts
    assert "two\nlines 🦊" in texts
    assert any(text.endswith("… (9,600 characters more)") for text in texts)
    assert "\ufffd" not in page.content()


def test_light_and_dark_differ_and_all_text_is_readable_in_both(page: Page) -> None:
    shots = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        shots.append(page.screenshot())
        contrasts = page.evaluate(CONTRASTS)
        kinds = {name for name, _ in contrasts}
        assert {"H1", "TD", "TH", "badge bad", "badge good", "badge odd", "note", "soft"} <= kinds
        assert [each for each in contrasts if each[1] < 4.5] == []
    assert shots[0] != shots[1]


def test_a_phone_scrolls_tables_and_not_the_page(page: Page) -> None:
    page.set_viewport_size({"width": 375, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    wide = page.locator(".scroll").first
    assert wide.evaluate("each => each.scrollWidth > each.clientWidth")


def test_the_keyboard_reaches_the_skip_link_the_lists_and_the_tables(page: Page) -> None:
    page.keyboard.press("Tab")
    focused = page.locator(":focus")
    assert focused.inner_text() == "Skip to the report"
    assert focused.evaluate("each => each.getBoundingClientRect().x") >= 0
    assert focused.evaluate("each => getComputedStyle(each).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert focused.evaluate("each => each.tagName") == "SUMMARY"
    page.keyboard.press("Enter")
    assert not page.locator("details").first.evaluate("each => each.open")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert focused.get_attribute("role") == "region"


def test_a_screen_reader_is_told_headings_captions_and_what_the_charts_show(page: Page) -> None:
    tree = page.locator("body").aria_snapshot()
    assert f'heading "{HEADING}" [level=1]' in tree
    for heading in ("What differs", "Accuracy and flips", "Confusion matrix", "By tag", "Latency"):
        assert f'heading "{heading}" [level=2]' in tree
    assert re.search(r'heading "Regressions: \d+" \[level=3\]', tree)
    for caption in ("Truth in rows, answers in columns; ✓ is right", "A sample counts for each"):
        assert f'table "{caption}' in tree
    assert 'img "Score shifts: ' in tree
    assert 'img "Latency, on a logarithmic scale: ' in tree
    assert page.locator("table").count() == page.locator("table > caption").count()
    assert page.locator("th:not([scope])").count() == 0
    assert page.locator("html").get_attribute("lang") == "en"


def test_print_hides_nothing_of_the_tables(page: Page) -> None:
    page.set_viewport_size({"width": 760, "height": 1000})
    page.emulate_media(media="print", color_scheme="dark")
    hidden = "all => all.filter(each => !each.checkVisibility({visibilityProperty: true})).length"
    assert page.locator("td, th, caption").evaluate_all(hidden) == 0
    cut = "all => all.filter(each => getComputedStyle(each).overflowX !== 'visible').length"
    assert page.locator(".scroll").evaluate_all(cut) == 0
    white = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert white == "rgb(255, 255, 255)"
