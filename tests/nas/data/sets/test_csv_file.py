from collections.abc import Callable
from pathlib import Path

import pytest

from nas.data.sets.csv_file import ImageList

Tree = Callable[..., Path]


class TestCsv:
    def test_names_are_numbered_alike_in_all_splits(self, tree: Tree):
        data = ImageList(file=tree("csv", names=lambda one: "zyxwv"[one])).load()
        assert data.identities == (2, 3, 4) and data.query.ids.tolist() == [1, 0]
        assert data.gallery.ids.tolist() == [1, 1, 0, 0] and data.gallery.cameras.tolist() == [0, 1, 0, 1]

    def test_whole_numbers_stay(self, tree: Tree):
        data = ImageList(file=tree("csv", names=lambda one: f"{one * 100:04d}")).load()
        assert data.identities == (0, 100, 200) and data.query.ids.tolist() == [300, 400]

    def test_numbers_written_in_two_ways_are_names(self, tree: Tree):
        data = ImageList(file=tree("csv", names=lambda one: ["7", "07", "1", "2", "3"][one])).load()
        assert len(data.identities) == 3

    def test_junk_and_unknown_camera_are_so_among_names_too(self, tree: Tree):
        file = tree("csv")
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace("Ann 2,", "-1,").replace("1.png,Ann 4,gate 1", "1.png,-1,-1"), encoding="utf-8")
        data = ImageList(file=file).load()
        assert data.identities == (0, 1) and data.query.ids.tolist() == [2, 3]
        assert data.gallery.ids.tolist() == [2, 2, 3, -1] and data.gallery.cameras.tolist() == [0, 1, 0, -1]

    def test_byte_order_mark_and_further_columns_do_no_harm(self, tree: Tree):
        file = tree("csv")
        lines = file.read_text(encoding="utf-8").splitlines()
        file.write_text("\r\n".join(line + ",more" for line in lines), encoding="utf-8-sig")
        assert len(ImageList(file=file).load().train) == 6

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ("a.png,Eve,1,test", r'line 15: split must be one of train, query, gallery; got "test"'),
            ("a.png,,1,train", "line 15: the column identity is empty"),
            ("a.png,Eve", "line 15: the column split is empty"),
            ("a, b.png,Eve,1,train", "line 15: there are more cells than columns; put a cell with a comma in quotes"),
            ("extra.png,Ann 3,-1,query", "line 15: a query needs a known camera; got -1"),
            ("gone.png,Eve,1,train", r"gone.png \(line 15\)"),
            ("bïlder mit blank/train 0 1.png,Eve,1,train", r"listed again: .*train 0 1.png \(line 3; line 15\)"),
            ("./bïlder mit blank/query 3 0.png,Ann 3,1,gallery", r"listed again: .*query 3 0.png \(line 8; line 15\)"),
            ("extra.png,Ann 3,1,train", r"both have Ann 3 \(lines 15 and 8\)"),
            ("extra.png,Ann 2,1,query", r"both have Ann 2 \(lines 6 and 15\)"),
        ],
    )
    def test_errors_name_the_line(self, tree: Tree, line: str, problem: str):
        file = tree("csv")
        (file.parent / "extra.png").write_bytes(b"")
        file.write_text(file.read_text(encoding="utf-8") + "\n\n" + line, encoding="utf-8")
        with pytest.raises(ValueError, match=problem):
            ImageList(file=file).load()

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (b"", "an empty file"),
            (b"path;identity;split\na;b;c", "missing from: path;identity;split"),
            (b"path,identity,split\n", "found none below the header"),
            (b"path,identity,split,identity\n", "line 1: the header must have each column once, .* identity again"),
            ("path,identity,split\nä,b,c".encode("latin-1"), "must be a CSV file in UTF-8"),
        ],
    )
    def test_wrong_files_are_explained(self, tmp_path: Path, content: bytes, problem: str):
        file = tmp_path / "list.csv"
        file.write_bytes(content)
        with pytest.raises(ValueError, match=problem):
            ImageList(file=file).load()
        with pytest.raises(ValueError, match="does not exist"):
            ImageList(file=tmp_path / "none.csv").load()
