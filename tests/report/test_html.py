"""The HTML report: what the folder holds, and what a browser makes of it."""

import json
import shutil
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import chromium
import numpy as np
import pandas as pd
import pytest
from markupsafe import escape as markup
from written_pages import HOSTILE, changes_of, write_method
from written_results import TOXIC, bias_images, seal_again, toxic_images

from livo_bench.cards.catalog import DATA
from livo_bench.errors import BadInput
from livo_bench.report import glossary, html, quirks, tables
from livo_bench.results import reading
from livo_bench.results.compare import compare
from livo_bench.results.metrics.registry import HEADLINES

if TYPE_CHECKING:  # a test that needs no browser runs without selenium
    from selenium.webdriver import Chrome

MINI = DATA / "results" / "mini"

EVIL = "<img src=x onerror=alert(1)>"
"""Name of a method."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    for method, males in [("sd", [3, 1, 4, 0, 2]), (EVIL, [0, 1, 2, 3, 4])]:
        write_method(root, bias_images(males), method)
        scores = np.full((3, 10), 0.25 if method == "sd" else 0.75)
        write_method(root, toxic_images(scores), method, **TOXIC)
    return root


@pytest.fixture(scope="module")
def page(runs: Path) -> Path:
    return html.write(runs.with_name("report"), runs)


def under_released(root: Path) -> Path:
    """Name the results in a folder as those of the protocol `released`."""
    for path in root.rglob("aggregates.csv"):
        rows = pd.read_csv(path, keep_default_na=False)
        rows.assign(model="mini@released").to_csv(path, index=False)
        if (said := path.parent / "run.json").exists():
            record = json.loads(said.read_text("utf-8"))
            record.pop("seal", None)
            seal_again(path.parent, record | {"protocol": "released"})
    return root


@pytest.fixture(scope="module")
def of_mini(tmp_path_factory: pytest.TempPathFactory, few_methods: Path) -> Path:
    return html.write(tmp_path_factory.mktemp("report"), few_methods)


class Elements(HTMLParser):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))

    def of(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag in tags]


def pictures_of(page: Path) -> list[str]:
    """Files of sampled images that the page shows, figures left out."""
    files = [str(image["src"]) for image in Elements(page).of("img")]
    return [file for file in files if file.startswith("images/")]


# The folder --------------------------------------------------------------------------------------


def test_the_page_asks_for_files_of_its_folder_only_and_holds_no_code(
    page: Path, of_mini: Path
) -> None:
    for path in (page, of_mini):
        elements = Elements(path)
        assert elements.of("script") == [{"src": "report.js", "defer": None}]
        assert not elements.of("style", "iframe", "object", "base")
        for tag, attributes in elements.found:
            assert not [name for name in attributes if name == "style" or name.startswith("on")]
            for place in (attributes.get("src"), attributes.get("href")):
                if place is None:
                    continue
                if tag not in ("a", "use"):
                    assert (path.parent / place).is_file()
                assert ":" not in place
        policy = next(str(m["content"]) for m in elements.of("meta") if "http-equiv" in m)
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        links = {link["href"] for link in elements.of("a")}
        links |= {use["href"] for use in elements.of("use")}
        assert links <= {f"#{attributes.get('id')}" for _, attributes in elements.found}


def test_tables_fields_and_pictures_have_names(page: Path, of_mini: Path) -> None:
    for path in (page, of_mini):
        text = path.read_text("utf-8")
        elements = Elements(path)
        assert text.count("<table") == text.count("<caption") > 0
        assert all(head.get("scope") for head in elements.of("th"))
        assert all(image["alt"] for image in elements.of("img"))
        assert text.count("<select") == text.count("<label>") > 0
        assert all(veil["aria-label"] for veil in elements.of("button") if "veil" in str(veil))
        ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
        assert len(ids) == len(set(ids))
        named = [a["aria-labelledby"] for _, a in elements.found if "aria-labelledby" in a]
        assert set(named) <= set(ids)


def test_the_reference_has_its_figure_tables_and_prompts_but_no_pictures(
    of_mini: Path, few_methods: Path
) -> None:
    text = of_mini.read_text("utf-8")
    assert "say nothing about Stable Diffusion or about people" in text.split("<nav")[0]
    assert text.count('<section class="panel"') == 6
    assert "came without images" in text
    assert not (of_mini.parent / "images").exists()
    assert "a photo of the face of a nurse" in text
    _, laid_out = tables.table_2(reading.load_results(few_methods, "mini"))
    for cell in (cell for table in laid_out for row in table.rows for cell in row.cells):
        assert cell.value in text
        assert cell.interval in text


def test_the_reference_has_every_table_and_figure_that_report_has(
    of_mini: Path, few_methods: Path
) -> None:
    text = of_mini.read_text("utf-8")
    aggregates = reading.load_results(few_methods, "mini")
    layouts = (
        tables.table_2, tables.table_3, tables.trade_off,
        tables.fid, tables.estimators, tables.overcorrection,
    )  # fmt: skip
    for table in (table for lay_out in layouts for table in lay_out(aggregates)[1]):
        assert f">{table.title}</caption>" in text
    assert "<summary>Thresholds</summary>" in text
    assert quirks.MEANING["sequential-noise"] in text
    for figure in ("convergence", "data_efficiency", "margins"):
        assert f'src="{figure}.svg"' in text


def test_a_model_without_trainings_has_no_figures_of_them(tmp_path: Path) -> None:
    assert html._draw_training("other", tmp_path) == {}
    assert not list(tmp_path.iterdir())


def test_results_under_another_protocol_have_the_notice_texts_and_pictures_of_their_model(
    runs: Path, page: Path, tmp_path: Path
) -> None:
    for method in ("sd", "livo"):
        shutil.copytree(MINI / method / "bias", tmp_path / "reference" / method / "bias")
    shutil.copytree(runs, tmp_path / "runs")
    reference, drawn = (
        html.write(tmp_path / f"{name}-report", under_released(tmp_path / name), "mini@released")
        for name in ("reference", "runs")
    )
    text = reference.read_text("utf-8")
    assert "Results of the model <bdi>mini@released</bdi>" in text
    assert "say nothing about Stable Diffusion or about people" in text.split("<nav")[0]
    assert "a photo of the face of a nurse" in text
    assert Elements(drawn).of("img") == Elements(page).of("img")


def test_the_same_results_make_the_same_folder_and_pictures_of_others_go(
    runs: Path, page: Path, tmp_path: Path
) -> None:
    first = {path.name: path.read_bytes() for path in page.parent.rglob("*.*")}
    out = tmp_path / "report"
    shutil.copytree(page.parent, out)
    stale = out / "images" / "0.png"
    stale.write_bytes(b"")
    html.write(out, runs)
    assert {path.name: path.read_bytes() for path in out.rglob("*.*")} == first


def test_methods_that_share_an_image_share_its_file(page: Path) -> None:
    text = page.read_text("utf-8")
    pictures = pictures_of(page)
    # Three rows a task for two methods; a row of each is of an image that they share, and the
    # tasks share the first row.
    assert len(pictures) == 12
    assert len(set(pictures)) == len(list((page.parent / "images").iterdir())) == 8
    assert text.count("; the same image as <bdi>SD</bdi>") == 2


def test_without_images_there_are_none(runs: Path, tmp_path: Path) -> None:
    html.write(tmp_path, runs)
    page = html.write(tmp_path, runs, images=False)
    assert "written without pictures" in page.read_text("utf-8")
    assert not pictures_of(page)
    assert not list((tmp_path / "images").iterdir())


def test_another_folder_is_left_alone(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(BadInput, match=r"holds something that is not a report .* --out DIR"):
        html.write(tmp_path, runs)
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
    assert (tmp_path / "index.html").read_text() == "mine"


def test_changes_of_the_reference_are_those_of_compare_to_the_last_digit(
    of_mini: Path, few_methods: Path
) -> None:
    theirs = compare(["sd", "ca", "livo"], runs=few_methods).metrics
    ours = [change for cells in changes_of(few_methods) for change in cells if change is not None]
    assert set(ours) == {d for d in theirs if d.metric in HEADLINES}
    assert len(ours) == len(set(ours)) > 10
    [livo] = [d for d in ours if (d.method, d.subset, d.metric) == ("livo", "gender", "D1")]
    assert f"{100 * livo.difference:+.1f}\n<small>[{100 * livo.low:+.1f}, " in of_mini.read_text()


def test_headings_are_explained_and_trainings_said_to_be_the_packages(of_mini: Path) -> None:
    text = of_mini.read_text("utf-8")
    for heading, term in glossary.TERMS.items():
        assert f"<dt>{glossary.name_of(heading)}</dt><dd>{markup(term.means)}</dd>" in text
    training = text.split('id="training-title"')[1]
    assert "Measured once, on the trainings whose weights come with the package" in training
    assert "There is no plot" not in text


def test_a_task_and_a_method_of_ones_own_have_their_titles_and_no_plot_is_excused(
    tmp_path: Path,
) -> None:
    for method in ("sd", "mine"):
        write_method(tmp_path, bias_images([3, 1, 4]), method)
        folder = tmp_path / "mini" / str(len(method)) / "bias"
        rows = pd.read_csv(folder / "aggregates.csv").assign(task="age")
        rows.to_csv(folder / "aggregates.csv", index=False)
        method_said = {"method": {"name": method, "title": f"All of {method}"}}
        record = {"prompts": {}, **method_said}
        (folder / "run.json").write_text(json.dumps(record))
    text = html.write(tmp_path / "report", tmp_path).read_text("utf-8")
    assert ">Task age</caption>" in text
    assert "There is no plot: it is of the tasks bias and toxicity" in text
    assert text.count("<bdi>All of mine</bdi>") > 2
    assert "<bdi>mine</bdi>" not in text


def test_a_method_without_a_scored_image_leaves_the_page_whole(tmp_path: Path) -> None:
    write_method(tmp_path, bias_images([3, 1]), "sd")
    images = bias_images([3, 1]).assign(unscored="blank image", label=None)
    write_method(tmp_path, images.assign(p_male=np.nan, p_female=np.nan), "noise")
    text = html.write(tmp_path / "report", tmp_path).read_text("utf-8")
    assert "not scored: blank image" in text
    assert "<summary>Thresholds</summary>" in text


# In a browser ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> "Iterator[Chrome]":
    driver = chromium.start()
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser: "Chrome", page: Path) -> "Chrome":
    browser.get(page.as_uri())
    return browser


def texts(driver: "Chrome", selector: str) -> list[str]:
    """What people see."""
    return [found.text for found in driver.find_elements("css selector", selector) if found.text]


def choose(driver: "Chrome", field: str, choice: str) -> None:
    from selenium.webdriver.support.select import Select

    Select(driver.find_element("name", field)).select_by_value(choice)


def test_nothing_is_loaded_from_elsewhere_and_nothing_is_refused(
    opened: "Chrome", page: Path
) -> None:
    opened.execute_script("scrollTo(0, document.body.scrollHeight)")
    messages = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    asked = {
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    }
    folder = page.parent.as_uri()
    assert {f"{folder}/{name}" for name in ("index.html", "report.css", "report.js")} <= asked
    assert all(url.startswith(f"{folder}/") for url in asked)
    assert not opened.get_log("browser")
    assert opened.find_element("css selector", ".row img").size["width"] > 100


def test_hostile_texts_are_text(opened: "Chrome") -> None:
    script = "return [...document.querySelectorAll('#pictures .row')].map((row) => %s)"
    heads = opened.execute_script(script % "row.querySelector('h3').textContent.trim()")
    # What turns the direction of writing round is shown, not done.
    assert heads[:2] == [HOSTILE["p0"], HOSTILE["p2"].replace("\u202e", r"\u202e")]
    assert heads[2] == "x" * 160 + "…"
    whole = opened.execute_script(script % "row.querySelector('details bdi')?.textContent")
    assert whole[2] == "x" * 9_999 + r"\ud800"
    assert opened.title == "livo-bench report: mini"
    assert EVIL in texts(opened, "#pictures figcaption b")
    width = opened.execute_script("return document.documentElement.scrollWidth - innerWidth")
    assert width <= 0


def test_filters_show_what_they_say_and_count_it(opened: "Chrome") -> None:
    count = opened.find_element("id", "count")
    assert count.text == "8 of 8 prompts, 6 of 6 rows of pictures shown"
    choose(opened, "task", "bias")
    assert count.text == "5 of 8 prompts, 3 of 6 rows of pictures shown"
    choose(opened, "label", "gender: male")
    assert {"labelled male by clip-gender-1"} == {
        words.splitlines()[1].split(";")[0] for words in texts(opened, "#pictures figcaption")
    }
    choose(opened, "method", "SD")
    assert set(texts(opened, "#pictures figcaption b")) == {"SD"}
    assert EVIL not in texts(opened, ".prompts th")
    choose(opened, "task", "toxicity/nudity")
    assert count.text == "3 of 8 prompts, 0 of 6 rows of pictures shown"
    opened.find_element("css selector", "[type=reset]").click()
    everything = "8 of 8 prompts, 6 of 6 rows of pictures shown"
    deadline = time.monotonic() + 10  # the page counts again after the browser has cleared the form
    while count.text != everything and time.monotonic() < deadline:
        time.sleep(0.01)
    assert count.text == everything
    choose(opened, "category", "nudity")
    assert count.text == "3 of 8 prompts, 3 of 6 rows of pictures shown"


def test_a_method_that_is_pressed_is_followed_through_tables_prompts_and_pictures(
    opened: "Chrome",
) -> None:
    from selenium.webdriver.common.keys import Keys

    name = opened.find_element("css selector", ".follow")
    assert name.text == EVIL
    name.send_keys(Keys.ENTER)
    assert f"Following {EVIL}" in opened.find_element("id", "followed").text
    for place in ("#answer tr", "#tables tr", "#prompts td", "#pictures li"):
        assert opened.find_elements("css selector", f"{place}.followed")
    titles = texts(opened, "#pictures .followed b")
    assert set(titles) == {EVIL}
    name.send_keys(Keys.ENTER)
    assert not opened.find_elements("css selector", ".followed")


def test_a_method_in_a_picture_says_its_numbers_and_is_followed_by_keyboard_and_pointer(
    browser: "Chrome", of_mini: Path
) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.get(of_mini.as_uri())
    panel = browser.find_element("class name", "panel")
    first = panel.find_element("css selector", ".mark[tabindex='0']")
    assert len(panel.find_elements("css selector", ".mark[tabindex='0']")) == 1
    first.send_keys(Keys.ARROW_RIGHT)
    mark = browser.switch_to.active_element
    title = str(mark.get_attribute("data-follow"))
    assert title != first.get_attribute("data-follow")
    said = panel.find_element("class name", "asked").text
    assert said.startswith(f"{title}: D1 of all images ")
    mark.send_keys(Keys.ENTER)
    assert mark.get_attribute("aria-pressed") == "true"
    followed = browser.find_elements("css selector", ".mark.followed")
    assert {found.get_attribute("data-follow") for found in followed} == {title}
    assert len(followed) == 6
    for place in ("#answer tr", "#trade-off tr", "#tables tr", "#prompts td"):
        assert browser.find_elements("css selector", f"{place}.followed")
    mark.find_element("css selector", "use").click()
    assert not browser.find_elements("css selector", ".followed")


def test_a_heading_sorts_its_table_down_and_up(opened: "Chrome") -> None:
    column = (
        "return [...document.querySelector('.prompts').tBodies[0].rows]"
        ".map((row) => parseFloat(row.cells[4].textContent))"
    )
    head = opened.find_element("css selector", ".prompts th[data-column='4']")
    before = opened.execute_script(column)
    head.find_element("tag name", "button").click()
    assert opened.execute_script(column) == sorted(before)
    assert head.get_attribute("aria-sort") == "ascending"
    head.find_element("tag name", "button").click()
    assert opened.execute_script(column) == sorted(before, reverse=True)


def test_hazards_are_blurred_until_somebody_asks(opened: "Chrome") -> None:
    from selenium.webdriver.common.keys import Keys

    def sharp() -> list[bool]:
        filters = opened.execute_script(
            "return [...document.querySelectorAll('.row:last-of-type img')]"
            ".map((image) => getComputedStyle(image).filter)"
        )
        return [filter_ == "none" for filter_ in filters]

    assert sharp() == [False, False]
    veil = opened.find_element("css selector", ".row:last-of-type .veil")
    veil.send_keys(Keys.SPACE)
    assert sharp() == [True, False]
    veil.click()
    assert sharp() == [False, False]
    reveal = opened.find_element("css selector", ".row:last-of-type .reveal")
    reveal.send_keys(Keys.ENTER)
    assert sharp() == [True, True]
    assert reveal.get_attribute("aria-pressed") == "true"


def test_without_scripts_all_is_read_and_hazards_stay_blurred(
    browser: "Chrome", page: Path
) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(page.as_uri())
        assert "Filters need JavaScript" in browser.find_element("tag name", "noscript").text
        assert not browser.find_element("id", "filters").is_displayed()
        assert len(texts(browser, "#pictures figcaption")) == 12
        veiled = browser.find_element("css selector", ".veil img")
        assert veiled.value_of_css_property("filter").startswith("blur")
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_a_narrow_window_scrolls_downwards_only(browser: "Chrome", of_mini: Path) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": False},
    )
    try:
        browser.get(of_mini.as_uri())
        page_width, window = browser.execute_script(
            "return [document.documentElement.scrollWidth, innerWidth]"
        )
        assert page_width <= window == 360
        # No column of the answer is cut: its strips are as narrow as the window asks.
        cut = browser.execute_script(
            "return [...document.querySelectorAll('.scroll:has(.answer)')]"
            ".map((found) => found.scrollWidth - found.clientWidth)"
        )
        assert cut == [0, 0]
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
