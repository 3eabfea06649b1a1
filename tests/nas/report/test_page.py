"""The report: whole, self-contained, escaped, and without what the run has not done."""

import base64
import hashlib
import json
import os
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from nas.errors import SaveError
from nas.report import plots
from nas.report.page import finding, write_report
from nas.report.strips import strip

HOSTILE = '<script>alert("1")</script>'
OWN_SCRIPTS = 3  # data, library, ours
SECTIONS = {
    "results", "architecture", "strips", "retrieval", "search", "training", "ranked", "configuration", "reproduce",
}  # fmt: skip


class Page(HTMLParser):
    """A page's elements: tags, ids, links, scripts and other text; fails where tags do not match."""

    VOID = {"meta", "img", "br", "path", "use"}

    def __init__(self, html):
        super().__init__()
        self.tags, self.ids, self.links, self.words, self.open, self.handlers, self.policy = [], [], [], [], [], [], ""
        self.scripts = []
        self.feed(html)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if ("http-equiv", "Content-Security-Policy") in attrs:
            self.policy = dict(attrs)["content"]

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        else:
            self.words.append(data)


def read(run_folder):
    return Page(write_report(run_folder).read_text(encoding="utf-8"))


def sections(page):
    return SECTIONS & set(page.ids)


def change(run_folder, name, **entries):
    path = run_folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.mark.medium
def test_a_whole_run_has_every_section_and_needs_nothing_beside_itself(run_folder):
    image = Image.new("RGB", (64, 128))
    for folder in ("strips", "plots"):
        (run_folder / folder).mkdir()
    strip(image, [image], [True]).save(run_folder / "strips" / "00.png")
    (run_folder / "plots" / "tsne.svg").write_text(plots.cmc({"somewhere in the plane": [0.5, 0.6]}))
    path = write_report(run_folder)
    page = Page(path.read_text(encoding="utf-8"))
    assert sections(page) == SECTIONS
    assert len(page.ids) == len(set(page.ids))
    for word in (
        "23.51 M",
        "part-aware",
        "0 → 2",
        "kdas_market1501",
        "git checkout 91e1e07",
        "Depth 4, width 1, 18 paths.",
    ):
        assert word in page.text
    sentence = "Searched student reaches mAP 61.2 with 2.14 M parameters; its teacher (ResNet-50) 64.0 with 23.51 M."
    assert sentence in page.text

    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert not {"link", "iframe"} & set(page.tags) and page.tags.count("script") == len(page.scripts) == OWN_SCRIPTS
    without_scripts = re.sub("<script.*?</script>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert not re.search(r"@import|url\((?!#)", without_scripts)


def test_a_page_of_person_search_shows_frames_and_detection(tmp_path):
    rows = [
        {"name": f"{role} (a)", "role": role, "parameters": 2_140_000, "mAP": 0.5, "rank1": 0.6} | detected
        for role, detected in (("teacher", {"detection_AP": 0.7}), ("student", {"detection_AP": 0.8}))
    ]
    metrics = {"format": 1, "protocol": {"num_frames": 3}, "rows": rows, "cmc": {"student (a)": [0.6, 0.7]}}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    for folder in ("strips", "sheets"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (64, 128)).save(tmp_path / folder / "00.png")
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    assert "Student (a) reaches mAP 50.0 and detection AP 80.0 with 2.14 M" in page.text
    assert "its teacher (a) 50.0 and 70.0 with" in page.text
    assert {"strips", "sheets"} <= set(page.ids)
    for word in ("k boxes", "the person who is looked for", "who was missed"):
        assert word in page.text
    assert "gallery" not in page.text and "mINP" not in page.text


def test_a_detector_alone_is_told_by_what_it_detects():
    row = {"name": "student (a)", "parameters": 2_000_000, "detection_AP": 0.8}
    assert finding({"rows": [row]}, []) == "Student (a) reaches detection AP 80.0 with 2.00 M parameters."


SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9">{}</svg>'
FOREIGN = {
    "a script": "<script>alert(1)</script>",
    "a handler": '<rect onload="alert(1)" width="9" height="9"/>',
    "a link that runs": '<a xlink:href="javascript:alert(1)"><text>a</text></a>',
    "an image of the network": '<image href="http://127.0.0.1/a.png" width="9" height="9"/>',
    "a page inside": '<foreignObject><iframe xmlns="http://www.w3.org/1999/xhtml" src="http://127.0.0.1"/></foreignObject>',
    "a style sheet": '<style>@import "http://127.0.0.1/a.css"; text { fill: url(http://127.0.0.1) }</style>',
    "text that closes": "<text>&lt;/svg&gt;&lt;script&gt;alert(1)&lt;/script&gt;</text>",
}


@pytest.mark.parametrize("name", ["tsne", "distances", "cameras"])
@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN)
def test_nothing_of_a_picture_in_the_folder_runs_or_loads(tmp_path, foreign, name):
    path = tmp_path / "plots" / f"{name}.svg"
    path.parent.mkdir()
    path.write_text(SVG.format(foreign))
    page = read(tmp_path)
    assert not {"rect", "image", "iframe", "foreignobject", "text"} & set(page.tags)
    assert page.tags.count("script") == OWN_SCRIPTS and page.handlers == []
    assert [link[:25] for link in page.links] == ["#retrieval", "data:image/svg+xml;base64"]
    assert page.tags.count("style") == 1 and "127.0.0.1" not in page.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must be an SVG, and cannot be read"),
        (b"\xff\xfe\x00", "must be an SVG, and cannot be read"),
        (SVG.format("</svg><script>alert(1)</script><svg>").encode(), "must be an SVG, and cannot be read"),
        (b"<html><svg></svg></html>", "is XML of another kind"),
        (SVG.format("&undefined;").encode(), "must be an SVG, and cannot be read"),
        (SVG.format("").replace("0 0 9 9", "0 0 nan 9").encode(), "a width and a height above 0"),
        (SVG.format("").replace("0 0 9 9", "0; 0").encode(), "is not as this version"),
        (b'<!DOCTYPE s [<!ENTITY a SYSTEM "/etc/passwd">]>' + SVG.format("&a;").encode(), "must be an SVG"),
    ],
)
def test_a_picture_that_is_none_is_named(tmp_path, content, message):
    path = tmp_path / "plots" / "tsne.svg"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}.*{message}"):
        write_report(tmp_path)


@pytest.mark.parametrize("content", [b"", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg/>", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_a_strip_is_a_png_and_nothing_else(tmp_path, content):
    (tmp_path / "strips").mkdir()
    (tmp_path / "strips" / "00.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"00\.png must be a PNG, and cannot be read"):
        write_report(tmp_path)


def test_a_page_runs_its_own_scripts_and_takes_its_own_style_sheet_alone(tmp_path):
    path = write_report(tmp_path)
    page = Page(path.read_text(encoding="utf-8"))
    policy = dict(rule.split(maxsplit=1) for rule in page.policy.split("; "))
    assert policy["default-src"] == "'none'" and policy["img-src"] == "data: 'self'"
    style = re.search("<style>(.*?)</style>", path.read_text(encoding="utf-8"), re.DOTALL)[1]
    assert policy["style-src-elem"] == sha256(style)
    assert policy["script-src"].split() == [sha256(text) for text in page.scripts[1:]]


def sha256(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_findings_of_unfinished_runs():
    assert finding({"rows": [{"name": "x", "mAP": 0.5}]}, []) == "X reaches mAP 50.0 with – parameters."
    assert finding({"rows": [{"name": "teacher", "mAP": 0.5}]}, [{}]).startswith("The search has run for 1 epoch;")
    assert finding({"rows": [{"name": "student", "mAP": None}]}, []) == "Nothing is evaluated yet."


@pytest.mark.medium
def test_everything_shown_is_escaped(run_folder):
    decisions = {HOSTILE: HOSTILE, f"{HOSTILE}.normal.2": [f"{HOSTILE}@0", "skip@1"]}
    hostile = {"format": 1, "space": HOSTILE, "hash": HOSTILE, "decisions": decisions}
    change(run_folder, "config.json", recipe=HOSTILE, **{HOSTILE: {HOSTILE: [HOSTILE, {HOSTILE: HOSTILE}]}})
    change(run_folder, "environment.json", command=HOSTILE, **{HOSTILE: HOSTILE})
    change(run_folder, "architecture.json", **hostile)
    change(run_folder, "architectures.json", ranked=[{"score": HOSTILE, "architecture": hostile}])
    change(
        run_folder, "metrics.json", protocol={HOSTILE: HOSTILE}, cmc={HOSTILE: [0.5]},
        rows=[{"name": HOSTILE, "mAP": 0.5, "multiply_adds": 1e9, "best": True}],
    )  # fmt: skip
    line = {"epoch": 0, "alphas": {f"{HOSTILE}<0": {HOSTILE: 0.5}}, "loss": {HOSTILE: 1}, "health": {HOSTILE: 1}}
    for stage in ("search", "teach"):
        (run_folder / f"{stage}.history.jsonl").write_text(json.dumps(line))
    page = read(run_folder)
    assert page.tags.count("script") == OWN_SCRIPTS and "<" not in page.scripts[0]
    assert page.text.count(HOSTILE) >= 15 and json.loads(page.scripts[0])["ranked"]["entries"][0]["hash"] == HOSTILE


@pytest.mark.medium
def test_a_run_that_has_only_searched(run_folder):
    for name in os.listdir(run_folder):
        if name not in ("search.history.jsonl", "architecture.json", "config.json"):
            (run_folder / name).unlink()
    page = read(run_folder)
    assert sections(page) == {"architecture", "search", "training", "configuration"}
    assert "The search has run for 40 epochs; nothing is evaluated yet." in page.text
    assert "The predicted architecture has not changed since epoch 25." in page.text


@pytest.mark.medium
def test_a_search_by_trials_shows_them_and_its_notes(run_folder):
    trials = [{"epoch": epoch, "score": 0.3, "cost": 4e7, "best": 0.3} for epoch in range(3)]
    (run_folder / "search.history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in trials))
    change(
        run_folder,
        "architectures.json",
        value="mAP",
        cost="multiply_adds",
        notes={"cost": {"latency_ms": {"real": 7.1234567}}, "weird": HOSTILE},
    )
    (run_folder / "metrics.json").unlink()
    page = read(run_folder)
    assert "The search has tried 3 architectures; nothing is evaluated yet." in page.text
    assert all(word in page.text for word in ("Architectures tried", "best so far", "MACs (M)", "7.1235"))
    assert "Costs and curvature" not in page.text and HOSTILE in page.text and page.tags.count("script") == OWN_SCRIPTS


@pytest.mark.medium
def test_a_search_by_gradient_shows_what_it_kept_an_eye_on(run_folder):
    line = {"epoch": 0, "tau": 10.0, "latency_ms": {"expected": 3.0, "predicted": 2.0}}
    (run_folder / "search.history.jsonl").write_text(json.dumps(line))
    page = read(run_folder)
    assert "Costs and curvature" in page.text and "ms per image" in page.text and "search" in sections(page)


def test_an_empty_folder_still_has_a_page(tmp_path):
    (tmp_path / "my <run>").mkdir()
    page = read(tmp_path / "my <run>")
    assert sections(page) == set() and "my <run>" in page.text


def test_missing_and_wild_values(run_folder):
    (run_folder / "search.history.jsonl").write_text("")
    rows = [{"name": None, "mAP": None, "parameters": 1e300}, {"name": "student", "mAP": 0.5, "rank1": None}]
    change(run_folder, "metrics.json", rows=rows, cmc=None, protocol={"ap": None})
    change(run_folder, "config.json", nothing=None, empty={}, none=[], deep={"a": {"b": {"c": [1, 2]}}})
    with (run_folder / "search.history.jsonl").open("a") as history:
        history.write('{"epoch": 40, "weight": {"total": NaN}, "alphas": null, "health": null}\n{"epoch": 41, "wei')
    assert "student" in read(run_folder).text


BROKEN = [
    ("metrics.json", "{", "is not JSON"),
    ("metrics.json", '{"rows": 3}', "rows must be a list"),
    ("metrics.json", '{"rows": ["a"]}', "rows must be a list of objects"),
    ("metrics.json", '{"cmc": {"a": 1}}', "cmc must be"),
    ("metrics.json", '{"protocol": [1]}', "protocol must be"),
    ("metrics.json", '{"format": 99}', "has format 99, this version reads 1: update it"),
    ("config.json", "[1]", "must hold a JSON object, and holds a list"),
    ("environment.json", "null", "must hold a JSON object, and holds null"),
    ("environment.json", "[" * 100_000, "must not be nested"),
    ("architectures.json", '{"ranked": [3]}', "is not as this version"),
    ("architecture.json", '{"decisions": 3}', "is not as this version"),
    ("search.history.jsonl", "x\n", "is not JSON"),
    ("search.history.jsonl", '{"alphas": [1]}\n', "is not as this version"),
    ("search.history.jsonl", '{"epoch": 0, "score": 1, "architecture": 3}\n', "is not as this version"),
    ("retrain.history.jsonl", '{"loss": 1}\n', "is not as this version"),
]


@pytest.mark.medium
@pytest.mark.parametrize(("name", "content", "message"), BROKEN)
def test_a_broken_file_is_named(run_folder, name, content, message):
    (run_folder / name).write_text(content)
    with pytest.raises(ValueError, match=rf"{re.escape(name)} {message}|{re.escape(name)} .*{message}") as error:
        write_report(run_folder)
    assert len(str(error.value).splitlines()) == 1


def test_a_failed_report_leaves_the_last_one(run_folder, monkeypatch):
    for path in run_folder.glob("*.jsonl"):
        path.unlink()
    (run_folder / "report.html").write_text("the last one")
    before = sorted(os.listdir(run_folder))

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(SaveError, match="no space left"):
        write_report(run_folder)
    assert (run_folder / "report.html").read_text() == "the last one"
    assert sorted(os.listdir(run_folder)) == before
