"""The pages of comparisons, studies and many runs in a real browser, as those of runs are."""

import pytest

from nas.report.ablation import write_ablation_report
from nas.report.runs import write_index
from nas.report.tuning import write_tuning_report
from nas.stages.compare import compare
from nas.stages.list_runs import list_runs
from nas.study.result import trial_table
from nas.system.files import write_json, write_lines
from tests.nas.report.conftest import search_line, training_line
from tests.nas.report.test_page_in_browser import CHROMIUM, SERIOUS, opened, playwright, see_all, until
from tests.nas.report.test_tuning import GRID, SHARES, found, study_of, trial
from tests.nas.stages.test_compare import evaluated, queries

pytestmark = [
    pytest.mark.medium,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here: apt-get install chromium brings it"),
]
HOSTILE = "<img src=x onerror=alert(1)>"
ARCHITECTURE = {"format": 1, "space": "ReID", "decisions": {"cell.2": ["sep3@0", "max3@1"]}}


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        yield started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


def compared(folder):
    for number, name in enumerate(("one", HOSTILE)):
        evaluated(folder / name, {role: queries(0.5 + 0.1 * number) for role in ("teacher", "student")}, seed=number)
        write_lines(folder / name / "search.history.jsonl", [search_line(epoch, 4) for epoch in range(4)])
        lines = [training_line(epoch, 4, 0.5, 1.0) for epoch in range(4)]
        write_lines(folder / name / "retrain.history.jsonl", lines)
    compare([str(folder / "one"), str(folder / HOSTILE), f"{folder / 'one'}:teacher"], out=folder / "out")
    return folder / "out" / "compare.html"


def tuned(folder):
    trials = [*GRID, trial(0.2, "pruned", T=3.0, alpha=0.2), trial(None, "fail", T=3.0, alpha=0.2)]
    trials.append(trial(0.5, architecture=ARCHITECTURE, T=4.0, alpha=0.4, **{"cell.2<0": "sep3", HOSTILE: HOSTILE}))
    study = study_of(*trials)
    content = found(study, SHARES, objectives=("mAP", "multiply_adds"), name=HOSTILE)
    return write_tuning_report(folder, content, trial_table(content), study)


def ablated(folder):
    arms = [
        {"name": name, "seeds": [0, 1, 2], "multiply_adds": 1e6}
        | {key: {"mean": mean, "sd": 0.01, "values": [mean - 0.01, mean, mean + 0.01]} for key in ("mAP", "rank1")}
        for name, mean in (("falling", 0.4), (HOSTILE, 0.3))
    ]
    facts = {"mean": 0.1, "interval": [0.05, 0.15], "joint_interval": [0.02, 0.2], "p": 0.01, "p_holm": 0.01}
    facts |= {"sd": 0.01, "pairs_needed": 3, "at_equal_macs": None}
    contrast = {
        "first": "falling",
        "second": HOSTILE,
        "primary": True,
        "seeds": [0, 1, 2],
        "mAP": facts,
        "rank1": facts,
    }
    whole = {"seeds": 3, "first_seed": 0, "trials": {"done": 6, "planned": 6}, "complete": True, "failed": []}
    return write_ablation_report(folder, whole | {"arms": arms, "contrasts": [contrast]})


def listed(folder):
    for name in ("one", HOSTILE):
        evaluated(folder / name)
    write_json(folder / "one" / "config.json", {"recipe": 1})
    return write_index(folder / "index.html", list_runs(folder), folder)


PAGES = {"compare": compared, "tune": tuned, "ablate": ablated, "runs": listed}


@pytest.fixture(scope="module", params=PAGES)
def path(request, tmp_path_factory):
    return PAGES[request.param](tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_is_drawn_nothing_runs_that_is_shown_and_axe_finds_nothing_serious(browser, path, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install 'nas-reid[dev]' brings axe")
    with opened(browser, path, color_scheme=scheme) as page:
        see_all(page)
        assert HOSTILE in page.locator("body").inner_text()
        violations = axe.Axe().run(page).response["violations"]
        serious = [each for each in violations if each["impact"] in SERIOUS]
        assert [(each["id"], [node["target"] for node in each["nodes"]]) for each in serious] == []


def test_a_telephone_needs_no_scrolling_to_the_side(browser, path):
    with opened(browser, path, viewport={"width": 390, "height": 844}) as page:
        see_all(page)
        assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_comparison_shows_an_edge_in_each_search_and_a_query_under_each_network(browser, tmp_path):
    with opened(browser, compared(tmp_path)) as page:
        page.locator("#alphas select").select_option(index=1)
        assert "leads with" in page.locator("#alphas .note").inner_text()
        assert page.locator("#queries .answers").count() == 3
        first = page.locator("#queries output").inner_text()
        page.get_by_role("button", name="Next").click()
        assert page.locator("#queries output").inner_text() != first
        assert page.locator("#settings th", has_text="seed").count() == 1


def test_a_trial_that_is_chosen_shows_its_settings_and_its_cell(browser, tmp_path):
    with opened(browser, tuned(tmp_path)) as page:
        page.locator("#study select").select_option("12")
        assert "pruned" in page.locator(".architecture-of").inner_text()
        page.locator("#study select").select_option("14")
        assert page.locator(".architecture-of svg.cell").count() == 1
        assert page.locator("#study .chart").count() == 4


def test_runs_are_sorted_by_their_numbers(browser, tmp_path):
    with opened(browser, listed(tmp_path)) as page:
        page.locator("th button", has_text="ms").click()
        until(page, "document.querySelector('th[aria-sort]').textContent.startsWith('ms')")
        assert page.locator("tbody tr").count() == 2 and page.locator(".state.damaged").count() == 2
