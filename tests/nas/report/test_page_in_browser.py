"""The run's page in a real browser: headless Chromium, where what the page's script complains of is a failure."""

import json
import shutil
from contextlib import contextmanager

import pytest

from nas.report.page import write_report
from tests.nas.report.conftest import HOSTILE, write_evaluation, write_run

playwright = pytest.importorskip("playwright.sync_api", reason="pip install 'nas-reid[dev]' brings playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.medium,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here: apt-get install chromium brings it"),
]
SERIOUS = ("serious", "critical")
MOST_SECONDS = 2.0
MOST_BYTES = 3_000_000


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        yield started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("runs") / "run")
    write_evaluation(folder)
    return folder


@pytest.fixture(scope="module")
def report(folder):
    return write_report(
        folder, changed=["retrain.epochs: 120, now 2"], costs={"macs": {"backbone.normal.2<0": {"sep3": 5e6}}}
    )


@contextmanager
def opened(browser, path, **how):
    """The page, which must complain of nothing until it is left: no error, no warning, no dialog."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | how)
    context.set_default_timeout(60_000)
    page, complaints = context.new_page(), []
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
    page.goto(path.as_uri())
    if how.get("java_script_enabled", True):
        page.locator("html[data-drawn]").wait_for(state="attached")
    try:
        yield page
    finally:
        context.close()
    assert complaints == []


def until(page, expression):
    """Waits for an expression to be true; Playwright's own way needs `eval`, which the page's policy forbids."""
    for _ in range(100):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never true: {expression}")


def see_all(page):
    """Scrolls to every chart, so that each is drawn."""
    for chart in page.locator(".chart").all():
        chart.scroll_into_view_if_needed()
    until(page, "[...document.querySelectorAll('.chart')].every((chart) => chart.children.length)")


def test_every_view_is_drawn_and_nothing_complains(browser, report):
    with opened(browser, report) as page:
        see_all(page)
        assert page.locator(".chart svg").count() >= 10
        assert page.locator("main [data-view]").count() >= 10


def test_the_slider_draws_the_cell_of_its_epoch(browser, report):
    with opened(browser, report) as page:
        slider = page.get_by_label("Epoch", exact=True)
        slider.scroll_into_view_if_needed()
        edge = page.locator('[data-edge="backbone.normal.2<0"]')
        last = edge.get_attribute("aria-label")
        slider.press("Home")
        assert page.locator("#search output").text_content() == "0 of 39"
        assert slider.get_attribute("aria-valuetext") == "epoch 0"
        assert edge.get_attribute("aria-label") != last and "kept with sep conv 3x3." in edge.get_attribute(
            "aria-label"
        )
        assert "nothing is decided yet" in page.locator(".live").text_content()
        assert page.locator("#search .edge.kept").count() == 8 and page.locator("#search .edge").count() == 14
        page.get_by_role("combobox", name="Cell").select_option(label="backbone.reduce")
        assert "kept with max pool 3x3." in page.locator('[data-edge="backbone.reduce.2<0"]').get_attribute(
            "aria-label"
        )


def test_play_goes_through_the_epochs_until_it_is_stopped(browser, report):
    with opened(browser, report) as page:
        page.get_by_role("button", name="Play").click()
        until(page, "parseInt(document.querySelector('#search output').textContent) % 39 >= 2")
        page.get_by_role("button", name="Pause").click()
        stopped = page.locator("#search output").text_content()
        page.wait_for_timeout(500)
        assert page.locator("#search output").text_content() == stopped


def test_an_edge_under_the_pointer_tells_its_runner_up_its_cost_and_its_curves(browser, report):
    with opened(browser, report) as page:
        page.locator('[data-edge="backbone.normal.2<0"]').first.focus()
        page.locator('[data-edge="backbone.normal.2<0"] .reach').hover(force=True)
        tip = page.locator(".tip").text_content()
        assert "Runner-up:" in tip and "margin" in tip and "5.00 M MACs" in tip
        assert page.locator(".curves h4").text_content() == "Weights of 0 → 2 over the epochs"
        page.locator('[data-edge="backbone.normal.4<1"]').focus()
        assert page.locator(".curves h4").text_content() == "Weights of 1 → 4 over the epochs"


def test_the_table_is_sorted_by_the_column_that_is_pressed(browser, tmp_path):
    report = write_report(write_run(tmp_path / "run"))
    with opened(browser, report) as page:
        table = page.locator("#results table")
        table.get_by_role("button", name="mAP").click()
        column = [float(each) for each in table.locator("tbody td:nth-child(2)").all_text_contents()]
        assert column == sorted(column, reverse=True) and len(column) == 4
        assert table.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
        table.get_by_role("button", name="ms, batch 128").click()
        assert table.locator("tbody tr").last.locator("td").last.text_content() == "–"


def test_the_browser_of_queries_orders_filters_and_steps(browser, report):
    with opened(browser, report) as page:
        count = page.locator("#strips output")
        rows = page.locator(".query-table tbody tr")
        count.scroll_into_view_if_needed()
        assert count.text_content() == "Query 1 of 12"
        worst = [float(each) for each in rows.locator("td:last-child").all_text_contents()]
        assert worst == sorted(worst)
        page.get_by_role("combobox", name="Order").select_option("best")
        best = [float(each) for each in rows.locator("td:last-child").all_text_contents()]
        assert best == sorted(best, reverse=True)
        page.get_by_role("button", name="Next").click()
        assert count.text_content() == "Query 2 of 12"
        page.get_by_role("searchbox", name="Identity").fill("3")
        assert count.text_content() == "Query 1 of 3" and set(rows.locator("td:nth-child(2)").all_text_contents()) == {
            "3"
        }
        page.get_by_role("searchbox", name="File").fill("no such file")
        assert count.text_content() == "No query is like that."


def test_right_and_wrong_are_told_in_words_and_marks_under_each_network(browser, report):
    with opened(browser, report) as page:
        page.get_by_role("combobox", name="Order").select_option("file")
        answers = page.locator(".answers")
        assert answers.locator("h4").all_text_contents() == ["teacher (a)", "baseline (a)", "student (a)"]
        for item in answers.last.locator("li").all():
            identity = item.locator("figcaption span").nth(1).text_content().split(",")[0]
            is_right = identity == "id 0"
            assert item.get_attribute("class") == ("right" if is_right else "wrong")
            mark = item.locator("figure").evaluate("(each) => getComputedStyle(each, '::before').content")
            assert mark == ('"✓"' if is_right else '"✗"')
        assert page.locator(".asked img").get_attribute("src").startswith("data:image/jpeg;base64,")


def test_activation_maps_take_the_place_of_the_last_networks_images(browser, report):
    with opened(browser, report) as page:
        page.get_by_role("combobox", name="Order").select_option("file")
        images = page.locator(".answers").last.locator("img")
        sources = "(images) => images.map((image) => image.src)"
        plain = images.evaluate_all(sources)
        page.get_by_label("where student looks").check()
        mapped = images.evaluate_all(sources)
        assert len({*plain}) == len({*mapped}) == 1 and mapped[0] != plain[0]
        assert page.locator(".asked img").get_attribute("src") == mapped[0]


def test_images_beside_the_page_are_shown_from_there(browser, tmp_path, monkeypatch):
    folder = write_run(tmp_path / "run")
    write_evaluation(folder, pictured=0)
    for side, number in (("query", 12), ("gallery", 40)):
        (tmp_path / "data" / side).mkdir(parents=True)
        for i in range(number):
            shutil.copy(folder / "thumbnails" / "a.jpg", tmp_path / "data" / side / f"{i:05d}_c{i % 3}.jpg")
    monkeypatch.chdir(tmp_path)
    with opened(browser, write_report(folder)) as page:
        image = page.locator(".asked img")
        image.scroll_into_view_if_needed()
        until(page, "document.querySelector('.asked img')?.naturalWidth === 40")
        assert image.get_attribute("src").startswith("./../data/query/")


def test_a_ranked_architecture_opens_large(browser, report):
    with opened(browser, report) as page:
        page.get_by_role("button", name="Open architecture 2").click()
        assert "Architecture 2" in page.locator("#ranked h4").text_content()
        assert page.locator("#ranked .architecture-of svg").count() == 2


def trial(number):
    decisions = {"backbone.normal.2": [f"sep{3 + 2 * (number % 2)}@0", "skip@1"], "width": number}
    score = 0.2 + 0.05 * (number * 7 % 5)
    pruned = {"pruned": True, "epochs": 1} if number % 3 == 2 else {"epochs": 9}
    return {
        "epoch": number, "score": score, "cost": 1e6 * (1 + number), "best": 0.4, "seconds": 1, **pruned,
        "architecture": {"format": 1, "space": "ReID", "decisions": decisions},
    }  # fmt: skip


def test_a_trial_shows_its_architecture(browser, tmp_path):
    folder = write_run(tmp_path / "run")
    (folder / "search.history.jsonl").write_text("".join(json.dumps(trial(i)) + "\n" for i in range(6)))
    found = json.loads((folder / "architectures.json").read_text()) | {"value": "mAP", "cost": "multiply_adds"}
    (folder / "architectures.json").write_text(json.dumps(found))
    with opened(browser, write_report(folder)) as page:
        see_all(page)
        page.get_by_role("combobox", name="Trial").select_option("2")
        shown = page.locator("#search .architecture-of")
        assert "Trial 3" in shown.text_content() and "stopped early" in shown.text_content()
        assert "identity" in shown.locator("svg").get_attribute("aria-label")


def test_a_threshold_tells_its_errors(browser, report):
    with opened(browser, report) as page:
        slider = page.get_by_label("Threshold")
        slider.scroll_into_view_if_needed()
        slider.press("Home")
        assert (
            "0.00 % of the wrong pairs are let in, 100.00 % of the right ones missed"
            in page.locator("#retrieval output").text_content()
        )
        slider.press("ArrowRight")
        slider.press("ArrowRight")  # 3 of 18 wrong pairs, 5 of 9 right ones
        assert "16.67 % of the wrong pairs are let in, 44.44 %" in page.locator("#retrieval output").text_content()


def test_a_network_tells_what_it_costs(browser, tmp_path):
    with opened(browser, write_report(write_run(tmp_path / "run"))) as page:
        chart = page.locator('[data-key="cost"] .chart').first
        chart.scroll_into_view_if_needed()
        until(page, 'document.querySelector(`[data-key="cost"] .chart svg`)')
        points = chart.locator("svg path[fill-opacity], svg path[stroke-width='2']")
        told = ""
        for point in points.all():
            point.hover(force=True)
            told += chart.text_content()
        assert "MACs (M)" in told and "no other is cheaper and better" in told


def test_charts_take_the_colours_of_a_dark_page(browser, report):
    with opened(browser, report) as page:
        see_all(page)
        lines = "[...document.querySelectorAll('#training .chart path')].map((path) => path.getAttribute('stroke'))"
        light = page.evaluate(lines)
        page.emulate_media(color_scheme="dark")
        assert "#0072b2" in light
        until(page, f"!{lines}.includes('#0072b2')")


def test_a_telephone_needs_no_scrolling_to_the_side_and_paper_gets_all(browser, report):
    with opened(browser, report, viewport={"width": 390, "height": 844}) as page:
        see_all(page)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
    with opened(browser, report) as page:
        assert page.pdf()[:5] == b"%PDF-"
        until(page, "[...document.querySelectorAll('.chart')].every((chart) => chart.children.length)")


def test_without_script_the_page_has_its_tables_and_pictures(browser, report):
    with opened(browser, report, java_script_enabled=False) as page:
        assert page.locator("noscript svg").count() >= 6
        assert page.locator("#architecture svg").first.is_visible()
        assert page.locator("#results tbody tr").count() == 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser, report, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    with opened(browser, report, color_scheme=scheme) as page:
        see_all(page)
        page.get_by_role("button", name="Open architecture 2").click()
        found = axe.Axe().run(page).response["violations"]
        told = [
            (each["id"], node["target"], node["failureSummary"])
            for each in found
            for node in each["nodes"]
            if each["impact"] in SERIOUS
        ]
        assert told == []


def test_nothing_that_is_shown_runs(browser, tmp_path):
    folder = write_run(tmp_path / "run")
    write_evaluation(folder)
    for path in [*folder.glob("queries/*.csv"), *folder.glob("*.json"), *folder.glob("*.jsonl")]:
        text = path.read_text()
        quoted = HOSTILE.replace('"', "'")
        path.write_text(text.replace("part", quoted).replace("00001_c1", quoted).replace("(a)", quoted))
    with opened(browser, write_report(folder)) as page:
        see_all(page)
        page.locator("#search .edge").first.focus()
        page.locator("#search .edge .reach").first.hover(force=True)
        page.get_by_role("button", name="Open architecture 2").click()
        assert page.get_by_text("<img src=x").count() > 0


def test_a_large_run_is_a_small_page_that_opens_at_once(browser, tmp_path):
    folder = write_run(tmp_path / "run", num_epochs=200)
    write_evaluation(folder, num_queries=3368, num_gallery=15_913, pictured=0)
    path = write_report(folder)
    assert path.stat().st_size < MOST_BYTES
    with opened(browser, path) as page:
        measured = page.context.new_cdp_session(page)
        measured.send("Performance.enable", {"timeDomain": "threadTicks"})  # processor time
        page.reload()
        page.wait_for_load_state()
        times = {each["name"]: each["value"] for each in measured.send("Performance.getMetrics")["metrics"]}
        assert times["TaskDuration"] < MOST_SECONDS
        page.locator("#strips output").scroll_into_view_if_needed()
        assert page.locator("#strips output").text_content() == "Query 1 of 3,368"
