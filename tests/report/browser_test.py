"""The page in a real Chromium: what a person does with it, by mouse and by keyboard, and that nothing else happens."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from report import history, page
from report.assemble import assemble
from report.coverage_format import Coverage
from tests.report import browser as browsers
from tests.report import samples
from tests.report.browser import Browser
from tests.report.samples import HOSTILE, contents, declaration, known_failure, verdict


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(browsers.chromium(), tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser, tmp_path: Path) -> Iterator[Browser]:
    """Returns the browser on the page of a small grid; what the test did must not have made an error."""
    _open(chromium, tmp_path, _small())
    yield chromium
    assert chromium.errors == []


def _small() -> Coverage:
    llama = declaration(tier="critical", known_failures=(known_failure(),))
    bert = declaration("bert", "encoder", main_class="BertForMaskedLM", checkpoint="google/bert")
    gpt2 = declaration("gpt2", backends=("cpu",))
    found = [
        verdict(llama, status="expected_failure", level="forward", failed_check="decoder::causality", reason="it sees"),
        verdict(bert, level="reference"),
        verdict(bert, "mock"),
        verdict(gpt2, status="failed", level="built", reason=HOSTILE, failed_check="common::forward"),
    ]
    grid = dataclasses.replace(
        contents([llama, bert, gpt2], found),
        inventory={"llama": ("LlamaForCausalLM", "LlamaModel"), "mamba": ("MambaModel",)},
        upstream={"transformers-5.23": "https://example.org/models"},
    )
    return assemble(grid)


def _open(browser: Browser, folder: Path, coverage: Coverage) -> None:
    browser.errors.clear()
    path = folder / "coverage.html"
    records = [found for date in ("2026-11-20", "2026-11-24") for found in history.records_of(coverage, date, "")]
    path.write_text(page.render(coverage, history.History(tuple(records)), "2026-11-24"))
    browser.open(f"file://{path}")


def _names(browser: Browser) -> list[str]:
    names: list[str] = browser.run("[...document.querySelectorAll('#grid tbody th')].map((cell) => cell.textContent)")
    return names


def _dialog(browser: Browser) -> str | None:
    found: Any = browser.run(
        "document.querySelector('dialog').open ? document.querySelector('dialog').innerText : null"
    )
    return None if found is None else str(found)


def _choose(browser: Browser, control: str, value: str) -> None:
    """Chooses as a person does, but for the list of choices, which is the system's and no part of the page."""
    browser.run(f"document.getElementById('{control}').value = '{value}'")
    browser.run(f"document.getElementById('{control}').dispatchEvent(new Event('input', {{bubbles: true}}))")


def test_search_finds_by_name_class_and_check(browser: Browser) -> None:
    assert _names(browser) == ["bert", "llama", "gpt2"]
    for words, names in (("llam", ["llama", "gpt2"]), ("bertformasked", ["bert"]), ("gpt2 common::forward", ["gpt2"])):
        browser.run("document.getElementById('filters').reset()")
        browser.click("#q")
        browser.type(words)
        assert _names(browser) == names, words
    assert browser.run("document.getElementById('shown').textContent") == "1 of 3 models"
    browser.type(" nothing like it")
    assert _names(browser) == [] and browser.run("!document.getElementById('nothing').hidden")
    browser.click("#clear")
    assert browser.run("new Promise((done) => setTimeout(() => done(document.querySelectorAll('tbody tr').length)))")
    assert _names(browser) == ["bert", "llama", "gpt2"]


@pytest.mark.parametrize(
    ("choices", "names"),
    [
        ({"category": "encoder"}, ["bert"]),
        ({"tier": "critical"}, ["llama"]),
        ({"status": "failed"}, ["gpt2"]),
        ({"level": "forward"}, ["llama"]),
        ({"backend": "cuda"}, ["bert", "llama"]),
        ({"backend": "cuda", "status": "not_declared"}, ["gpt2"]),
        ({"backend": "mock", "status": "passed"}, ["bert"]),
        ({"backend": "cpu", "level": "reference", "status": "passed"}, ["bert"]),
    ],
)
def test_filters_show_what_fits_all_of_them(browser: Browser, choices: dict[str, str], names: list[str]) -> None:
    for control, value in choices.items():
        _choose(browser, control, value)
    assert _names(browser) == names
    address = browser.run("location.href")
    browser.open("about:blank")
    browser.open(address)
    assert _names(browser) == names, "the address keeps the view"


def test_columns_sort_both_ways(browser: Browser) -> None:
    browser.click("#grid [data-key='name'] button")
    assert _names(browser) == ["bert", "gpt2", "llama"]
    browser.click("#grid [data-key='name'] button")
    assert _names(browser) == ["llama", "gpt2", "bert"]
    assert browser.run("document.querySelector(\"#grid [data-key='name']\").getAttribute('aria-sort')") == "descending"
    browser.click("#grid [data-key='on cpu'] button")
    assert _names(browser) == ["bert", "llama", "gpt2"], "the best first"


def test_click_opens_the_details_of_a_cell(browser: Browser) -> None:
    browser.click("#grid tbody tr:nth-child(2) [data-cell]")
    shown = _dialog(browser)
    for words in (
        "llama on cpu",
        "expected failure, level forward",
        "upstream masks nothing",
        "2099-01-01",
        "https://example.org/7",
        "common::config_builds",
        "device cpu",
        "./bazelw test //models/decoder/llama:cpu",
        "LlamaModel",
    ):
        assert shown and words in shown, words
    links = browser.run("[...document.querySelectorAll('dialog a')].map((link) => link.getAttribute('href'))")
    assert links == ["https://example.org/7", "models/decoder/llama/BUILD", "https://example.org/models/llama"]
    browser.click("dialog .close")
    assert _dialog(browser) is None


def test_keyboard_alone_finds_opens_and_closes_a_cell(browser: Browser) -> None:
    browser.press("/")
    browser.type("e")
    assert browser.run("document.activeElement.id") == "q"
    browser.run("document.querySelector('#grid thead tr').lastElementChild.firstElementChild.focus()")
    browser.press("Tab")
    assert browser.run("document.activeElement.dataset.cell") == "0 0"
    browser.press("ArrowDown", "ArrowRight", "ArrowRight", "ArrowLeft", "ArrowUp", "End")
    assert browser.run("document.activeElement.dataset.cell") == "0 2"
    browser.press("Home", "ArrowDown", "Enter")
    shown = _dialog(browser)
    assert shown and shown.startswith("llama on cpu")
    browser.press("Escape")
    assert _dialog(browser) is None
    assert browser.run("document.activeElement.dataset.cell") == "1 0", "back where it was"


def test_address_of_a_cell_opens_it(browser: Browser) -> None:
    browser.click(".attention a")
    shown = _dialog(browser)
    assert shown and shown.startswith("gpt2 on cpu")


def test_hostile_text_is_shown_and_not_run(browser: Browser) -> None:
    browser.run("window.alert = () => { window.ran = true }")
    browser.click("#grid tbody tr:nth-child(3) [data-cell]")
    assert r"\x1b[2J</script><script>alert(1)</script><img src=x" in (_dialog(browser) or "")
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert browser.run("window.ran") is None


def test_script_from_elsewhere_would_not_run(browser: Browser) -> None:
    browser.run("{ const s = document.createElement('script'); s.text = 'window.ran = 1'; document.body.append(s) }")
    assert browser.run("window.ran") is None
    assert "Content Security Policy" in browser.errors.pop()


def test_colours_follow_the_system_or_the_button(browser: Browser) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    browser.prefer("light")
    light = browser.run(paper)
    browser.prefer("dark")
    assert browser.run(paper) != light
    browser.click("#theme")
    assert (
        browser.run(paper) == light and browser.run("document.getElementById('theme').textContent") == "Colours: light"
    )
    browser.click("#theme")
    assert browser.run(paper) != light
    browser.click("#theme")
    browser.prefer("light")
    assert browser.run(paper) == light


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(browser: Browser, scheme: str) -> None:
    """WCAG 2.2, 1.4.3: a ratio of at least 4.5, of every text in the page and in a cell's details."""
    browser.prefer(scheme)
    browser.click("#grid tbody tr:nth-child(2) [data-cell]")
    assert browser.run(_CONTRAST) == []


_CONTRAST = """(() => {
  const numbers = (colour) => { // whatever the notation, as the browser paints it
    const pen = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = numbers(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const low = new Set();
  for (const element of document.querySelectorAll("body *:not(script, style, option)")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || element.closest("noscript")) continue;
    const svg = element instanceof SVGElement;
    const bar = svg && element.parentElement.querySelector("rect");
    const text = numbers(svg ? getComputedStyle(element).fill : getComputedStyle(element).color);
    const behind = bar ? numbers(getComputedStyle(bar).fill) : ground(svg ? element.ownerSVGElement : element);
    const [a, b] = [light(text), light(behind)].sort((one, other) => other - one);
    const ratio = (a + 0.05) / (b + 0.05);
    const name = `${element.tagName}.${element.getAttribute("class")}`;
    if (ratio < 4.5 && element.tagName !== "title") low.add(`${name} ${ratio.toFixed(2)}`);
  }
  return [...low];
})()"""


def test_every_status_has_a_shape_of_its_own(browser: Browser) -> None:
    marks = browser.run("[...document.querySelectorAll('p.legend .mark')].map((mark) => mark.textContent)")
    assert len(set(marks)) == len(marks) == 12


def test_grid_can_be_read_aloud(browser: Browser) -> None:
    tree = browser.call("Accessibility.getFullAXTree")["nodes"]
    roles = [node["role"]["value"] for node in tree if not node.get("ignored")]
    for role in ("grid", "columnheader", "rowheader", "gridcell", "searchbox"):
        assert role in roles, role
    names = {node.get("name", {}).get("value", "") for node in tree}
    assert "expected failure forward" in names
    unnamed = [
        node["role"]["value"]
        for node in tree
        if not node.get("ignored")
        and node["role"]["value"] in ("button", "searchbox", "combobox", "link", "grid", "image")
        and not node.get("name", {}).get("value")
    ]
    assert unnamed == []


def test_large_grid_is_whole_and_quick_to_use(chromium: Browser, tmp_path: Path) -> None:
    """What it takes is in docs/report.md; here that it works, without a clock."""
    _open(chromium, tmp_path, assemble(samples.large()))
    assert chromium.run("document.getElementById('shown').textContent") == "650 of 650 models"
    for _ in range(20):
        chromium.run("document.getElementById('scroller').scrollTop = 1e6")
        chromium.settle()
    assert chromium.run("document.querySelectorAll('#grid [data-cell]').length") == 650 * 12, "rows come by scrolling"
    chromium.click("#q")
    chromium.type("model_64")
    assert len(_names(chromium)) == 11
    chromium.click("#grid tbody tr [data-cell]:last-child")
    assert "backend11" in (_dialog(chromium) or "")
    assert chromium.errors == []
