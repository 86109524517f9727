"""The page on which people label images: what it holds, and what a browser makes of it."""

import base64
import hashlib
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import chromium
import pytest
from click.testing import CliRunner
from written_audit import Rater, doubtful, draw, honest, ratings, write_runs
from written_pages import HOSTILE

from livo_bench.cli import main
from livo_bench.errors import BadInput, Incomplete
from livo_bench.report.audit_page import draw_audit
from livo_bench.results.raters import drawn
from livo_bench.results.raters.audited import read_audit
from livo_bench.results.raters.drawn import PAIR, Draw
from livo_bench.runs.store import Store

if TYPE_CHECKING:
    from selenium.webdriver import Chrome


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def folder(runs: Path) -> Path:
    draw(runs, runs / "audit")
    return runs / "audit"


@pytest.fixture(scope="module")
def drew(folder: Path) -> Draw:
    return drawn.read(folder)


# The file ----------------------------------------------------------------------------------------


def test_the_page_is_one_file_that_asks_for_nothing(folder: Path) -> None:
    text = (folder / "page.html").read_text("utf-8")
    bare = re.sub(r'(id="data">).*?(</script>)', "", text, flags=re.DOTALL)
    assert not re.findall(r"<(?:link|iframe|object|base|img)\b|\b(?:src|href)=|\bon\w+=", bare)
    assert "http" not in bare.replace("http-equiv", "")
    assert text.count("</script>") == 2
    [policy] = re.findall(r'Security-Policy" content="([^"]+)"', text)
    [style] = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    [script] = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    for kind, code in (("style", style), ("script", script)):
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policy


def test_the_page_names_no_method_no_judge_and_no_answer_of_one(folder: Path, drew: Draw) -> None:
    text = (folder / "page.html").read_text("utf-8")
    [data] = re.findall(r'id="data">(.*?)</script>', text, re.DOTALL)
    held = json.loads(data)
    pictures = held.pop("pictures")
    assert len(pictures) == len({key for item in drew.items for key in item.keys})
    said = json.dumps(held)
    for secret in ("livo", '"sd"', "clip", "llava", "sure", "strat", *drew.items[0].keys):
        assert secret not in said
    # Not even by their order: pictures are numbered by what they are made of.
    assert [item["id"] for item in held["items"]] == [item.id for item in drew.items]
    assert all(set(item) == {"id", "question", "pictures", "text"} for item in held["items"])


def test_a_rater_of_the_miniature_world_is_told_that_it_is_of_drawings(
    folder: Path, drew: Draw
) -> None:
    text = " ".join((folder / "page.html").read_text("utf-8").split())
    assert "The pictures are drawings." in text
    assert "your answers say nothing about people" in text
    assert f"{len(drew.items)} questions, one key each" in text


def test_the_same_seed_writes_the_same_files_and_another_draw_is_not_overwritten(
    runs: Path, folder: Path, tmp_path: Path
) -> None:
    draw(runs, tmp_path)
    for name in ("page.html", "draw.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    draw(runs, tmp_path)
    with pytest.raises(BadInput, match=r"holds another draw.*--out DIR"):
        draw_audit(tmp_path, runs, labels=28, fits=8, pairs=8, seed=1)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"methods": ["frob"]}, "no results of frob in .*there are some of livo, sd"),
        ({"tasks": ["frob"]}, "no judged images of model 'mini' .*out of frob"),
        ({"baseline": "frob"}, "no results of 'frob'.*--baseline NAME"),
        ({"labels": 3}, "--labels 3 for 2, bias/gender, toxicity/nudity; expected 2 each"),
        ({"fits": 3}, "--fits 3 for 2, livo, sd; expected 2 each, 4 or more"),
        ({"labels": 0, "fits": 0, "pairs": 0}, "nothing to ask"),
    ],
)
def test_what_cannot_be_drawn_says_what_to_ask_for(
    asked: dict, said: str, runs: Path, tmp_path: Path
) -> None:
    with pytest.raises((BadInput, Incomplete), match=rf"(?s){said}"):
        draw_audit(tmp_path, runs, **{"labels": 28, "fits": 8, "pairs": 8} | asked)
    assert not list(tmp_path.iterdir())


def test_images_that_are_not_stored_are_said_to_be_missing(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "read_samples", lambda self, keys: {})
    with pytest.raises(Incomplete, match=r"(?s)\d+ of the \d+ images that were drawn are not in"):
        draw(runs, tmp_path)


def test_the_commands_draw_read_and_print_table_4(runs: Path, folder: Path, tmp_path: Path) -> None:
    def invoke(*words: str) -> str:
        result = CliRunner().invoke(main, words, catch_exceptions=False)
        assert result.exit_code == 0, result.stderr
        return result.stdout

    out = str(tmp_path / "audit")
    asked = ("--labels", "28", "--fits", "8", "--pairs", "8")
    told = invoke("audit", "draw", "--runs", str(runs), "--out", out, *asked, "--format", "csv")
    assert told.splitlines()[1].startswith("bias/gender,14,36,2,clip-gender-1")
    assert (tmp_path / "audit" / "page.html").read_bytes() == (folder / "page.html").read_bytes()
    files = [str(ratings(tmp_path, drawn.read(folder), name, honest)) for name in ("Ada", "Grace")]
    read = invoke("audit", "read", *files, "--draw", out, "--runs", str(runs))
    assert re.search(r"LiVO +Preferred +better, to SD .* 16/0/0 ", read)
    table = invoke("report", "--table", "4", out)
    assert re.search(r"SD +D2, judge corrected by raters +bias/gender .* 24 ", table)
    assert "alpha" not in table
    assert "D2,sd,bias/gender,corrected," in invoke(
        "report", "--table", "4", out, "--format", "csv"
    )


def test_the_papers_numbers_stand_beside_those_of_its_model_alone() -> None:
    from livo_bench.report.audit_rows import of_paper

    assert of_paper("mini") == []
    rows = of_paper("sd15")
    assert len(rows) == 13
    [livo] = [r for r in rows if r["method"] == "LiVO (paper)" and r["value"] == "77.3"]
    assert (livo["what"], livo["n"]) == ("Semantic consistency", "5 raters")


# In a browser ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> "Iterator[Chrome]":
    driver = chromium.start()
    yield driver
    driver.quit()


def press(driver: "Chrome", *keys: str) -> None:
    for key in keys:
        driver.switch_to.active_element.send_keys(key)


def enter(driver: "Chrome", page: Path, name: str) -> None:
    from selenium.webdriver.common.keys import Keys

    driver.get(page.as_uri())
    field = driver.find_element("id", "rater")
    field.clear()
    field.send_keys(name)
    press(driver, Keys.ENTER)


def enter_after(driver: "Chrome", page: Path, drew: Draw, name: str, first: int) -> None:
    """Go on as somebody who answered the first questions before."""
    driver.get(page.as_uri())
    answers = json.dumps([[item.id, honest(drew, item)] for item in drew.items[:first]])
    place = f"livo-bench audit {drew.digest} {name}"
    driver.execute_script("localStorage.setItem(arguments[0], arguments[1])", place, answers)
    enter(driver, page, name)


def count(driver: "Chrome") -> str:
    return str(driver.find_element("id", "count").text)


def rate_by_keys(driver: "Chrome", drew: Draw, rater: Rater, first: int, last: int) -> None:
    for item in drew.items[first:last]:
        choices = drew.question(item.question).choices
        press(driver, " ", str(choices.index(rater(drew, item)) + 1))


def rate_by_clicks(driver: "Chrome", drew: Draw, rater: Rater) -> None:
    driver.find_element("id", "always").click()
    for item in drew.items:
        said = rater(drew, item)
        driver.find_element("css selector", f"#choices [data-choice='{said}']").click()


def save(driver: "Chrome", downloads: Path) -> Path:
    before = set(downloads.glob("*.json"))
    [button] = [b for b in driver.find_elements("css selector", ".save") if b.is_displayed()]
    button.click()
    deadline = time.monotonic() + 120
    while not (found := set(downloads.glob("*.json")) - before):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found.pop()


def test_two_raters_clicks_become_the_numbers_that_their_answers_are(
    runs: Path, folder: Path, drew: Draw, tmp_path: Path
) -> None:
    page, downloads = folder / "page.html", tmp_path / "downloads"
    half, whole = len(drew.items) // 2, len(drew.items)
    driver = chromium.start(tmp_path / "profile", downloads)
    try:
        enter(driver, page, "Ada Lovelace")
        rate_by_keys(driver, drew, honest, 0, half)
        assert count(driver) == f"{half} of {whole} answered"
    finally:
        driver.quit()  # half-way, and without saving
    driver = chromium.start(tmp_path / "profile", downloads)
    try:
        driver.get(page.as_uri())
        assert driver.find_element("id", "rater").get_attribute("value") == "Ada Lovelace"
        assert f"{half} answers of this name" in driver.find_element("id", "known").text
        enter(driver, page, "Ada Lovelace")
        assert count(driver) == f"{half} of {whole} answered"
        rate_by_keys(driver, drew, honest, half, whole)
        assert driver.find_element("id", "end").is_displayed()
        ada = save(driver, downloads)
        enter(driver, page, "Grace")
        assert count(driver) == f"0 of {whole} answered"
        rate_by_clicks(driver, drew, doubtful)
        grace = save(driver, downloads)
        assert not driver.get_log("browser")
    finally:
        driver.quit()
    assert ada.name == f"ratings-Ada-Lovelace-{drew.digest[:8]}.json"
    theirs = [
        ratings(tmp_path, drew, "Ada Lovelace", honest),
        ratings(tmp_path, drew, "Grace", doubtful),
    ]
    for saved, meant in zip((ada, grace), theirs, strict=True):
        assert json.loads(saved.read_text("utf-8")) == json.loads(meant.read_text("utf-8"))
    found, notes = read_audit([ada, grace], folder, runs)
    assert not [note for note in notes if "answers of" in note]
    kinds = {finding.what for finding in found}
    assert kinds == {"alpha", "confusion", "share", "D1", "D2", "avg_r", "fits", "preferred"}
    assert (folder / "confusion.csv").read_text("utf-8").count("clip-gender-1") == 4
    table = CliRunner().invoke(main, ["report", str(runs), "--table", "4"], catch_exceptions=False)
    assert re.search(r"LiVO +Preferred +better, to SD", table.stdout)


def test_nothing_is_loaded_and_nothing_is_refused(browser: "Chrome", folder: Path) -> None:
    browser.get_log("performance")
    enter(browser, folder / "page.html", "Ada")
    press(browser, " ", "1")
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {
        message["params"]["request"]["url"].partition(":")[0]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    }
    assert asked == {"file", "data"}
    assert not browser.get_log("browser")
    [image] = browser.find_elements("css selector", "#pictures img")
    assert image.size["width"] > 200
    assert browser.execute_script("return arguments[0].naturalWidth", image) == 64


def blurred(driver: "Chrome") -> list[bool]:
    images = driver.find_elements("css selector", "#pictures img")
    return [image.value_of_css_property("filter") != "none" for image in images]


def test_pictures_are_blurred_until_asked_and_no_answer_is_given_blindly(
    browser: "Chrome", folder: Path, drew: Draw
) -> None:
    enter(browser, folder / "page.html", "Blaise")
    assert blurred(browser) == [True]
    press(browser, "1")
    assert count(browser) == f"0 of {len(drew.items)} answered"
    assert "Show the picture first" in browser.find_element("id", "told").text
    press(browser, " ")
    assert blurred(browser) == [False]
    press(browser, "1")
    assert count(browser) == f"1 of {len(drew.items)} answered"
    assert blurred(browser) == [True]
    browser.find_element("id", "always").click()
    assert blurred(browser) == [False]
    browser.find_element("css selector", "#choices button").click()
    assert blurred(browser) == [False]


def test_an_answer_is_undone_and_given_anew(browser: "Chrome", folder: Path, drew: Draw) -> None:
    from selenium.webdriver.common.keys import Keys

    enter(browser, folder / "page.html", "Sophie")
    undo = browser.find_element("id", "undo")
    assert not undo.is_enabled()
    press(browser, " ", "1", " ", "2", Keys.BACKSPACE)
    assert count(browser) == f"1 of {len(drew.items)} answered"
    undo.click()
    assert count(browser) == f"0 of {len(drew.items)} answered"
    press(browser, " ", "3")
    script = (
        "return localStorage.getItem(Object.keys(localStorage).find((k) => k.endsWith(' Sophie')))"
    )
    assert json.loads(browser.execute_script(script)) == [[drew.items[0].id, "cannot tell"]]


def test_arrows_choose_sides_and_everything_is_reached_and_named(
    browser: "Chrome", folder: Path, drew: Draw
) -> None:
    from selenium.webdriver.common.keys import Keys

    pairs = [n for n, item in enumerate(drew.items) if drew.question(item.question).kind == PAIR]
    enter_after(browser, folder / "page.html", drew, "Emmy", pairs[0])
    assert browser.switch_to.active_element.get_attribute("id") == "question"
    assert len(blurred(browser)) == 2
    press(browser, " ", Keys.ARROW_RIGHT, " ", Keys.ARROW_DOWN)
    script = (
        "return localStorage.getItem(Object.keys(localStorage).find((k) => k.endsWith(' Emmy')))"
    )
    held = json.loads(browser.execute_script(script))
    assert [choice for _, choice in held[-2:]] == ["right", "tie"]
    for element in browser.find_elements("css selector", "#rate button, #rate input, #rate img"):
        assert element.accessible_name
    assert browser.find_element("id", "choices").get_attribute("aria-labelledby") == "question"
    assert browser.find_element("id", "told").get_attribute("aria-live") == "polite"
    # All controls are reached by the key Tab, in the order in which they are seen.
    browser.execute_script("document.getElementById('question').focus()")
    reached = []
    for _ in range(6):
        press(browser, Keys.TAB)
        reached.append(browser.switch_to.active_element.accessible_name.split()[-1].lower())
    assert reached == ["left", "tie", "right", "show", "undo", "once"]


def test_hostile_prompts_are_text(browser: "Chrome", folder: Path, drew: Draw) -> None:
    place = next(n for n, item in enumerate(drew.items) if item.text == HOSTILE["p0"])
    enter_after(browser, folder / "page.html", drew, "Hypatia", place)
    assert browser.find_element("id", "text").text.strip("“”") == HOSTILE["p0"]
    assert browser.title == "livo-bench audit"
    shown = browser.execute_script("return data.items.map(({ text }) => text)")
    assert any(r"\u202e" in text for text in shown)


@pytest.mark.parametrize(("width", "height"), [(360, 780), (1400, 900)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_and_a_desk_show_it_whole_by_day_and_night(
    browser: "Chrome", folder: Path, width: int, height: int, scheme: str
) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    try:
        enter(browser, folder / "page.html", f"Maria {width} {scheme}")
        whole = (
            "return [document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
        )
        across, down = browser.execute_script(whole)
        assert across <= width
        assert down <= height
        ground = browser.find_element("tag name", "body").value_of_css_property("background-color")
        text = browser.find_element("tag name", "body").value_of_css_property("color")
        dark, light = sorted([ground, text], key=lambda c: sum(map(int, re.findall(r"\d+", c)[:3])))
        assert (ground == dark) == (scheme == "dark")
        assert (text == light) == (scheme == "dark")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_browser_that_keeps_nothing_says_so(browser: "Chrome", folder: Path) -> None:
    # As a browser does that was told to keep no data of pages.
    refuse = "Storage.prototype.setItem = () => { throw new Error('full'); };"
    added = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": refuse})
    try:
        enter(browser, folder / "page.html", "Ada")
        assert "save the file before you close" in browser.find_element("id", "alert").text
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
