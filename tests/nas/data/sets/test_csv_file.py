from collections.abc import Callable
from pathlib import Path

import pytest

from nas.data.sets.csv_file import ImageList
from tests.nas.data.conftest import paint

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

    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    @pytest.mark.parametrize("mark", ["utf-8", "utf-8-sig"])
    @pytest.mark.parametrize("blank", ["", " "])
    @pytest.mark.parametrize("name", [str.lower, str.title, str.upper, '"{}"'.format])
    def test_headers_as_spreadsheets_write_them(
        self, tree: Tree, separator: str, mark: str, blank: str, name: Callable[[str], str]
    ):
        file = tree("csv")
        plain = ImageList(file=file).load()
        header, *lines = [line.split(",") for line in file.read_text(encoding="utf-8").splitlines()]
        lines = [[name(column) for column in header], *lines, [""] * 4]
        text = "\r\n".join((separator + blank).join(line) for line in lines)
        file.write_text(text, encoding=mark, newline="")
        data = ImageList(file=file).load()
        for split, expected in plain.splits.items():
            found = data.splits[split]
            assert found.ids.tolist() == expected.ids.tolist() and found.cameras.tolist() == expected.cameras.tolist()
            names = ([one.images.name(i) for i in range(len(one))] for one in (found, expected))
            assert next(names) == next(names)

    def test_separators_may_stand_in_quoted_cells(self, tree: Tree):
        file = tree("csv", names='"Ann; {0}, the\t{0}th"'.format)
        text = file.read_text(encoding="utf-8")
        assert len(ImageList(file=file).load().identities) == 3
        file.write_text(text.replace(",gate", ", gate").replace(',"Ann', ', "Ann'), encoding="utf-8")
        assert len(ImageList(file=file).load().identities) == 3

    @pytest.mark.parametrize("junk", ["-1", "-2", "-01", "-1.0", "-17."])
    def test_identities_and_cameras_below_0_are_junk_and_unknown(self, tree: Tree, junk: str):
        for names in ("Ann {}".format, str):
            file = tree("csv", names=names)
            text = file.read_text(encoding="utf-8").replace(f"1.png,{names(4)},gate 1", f"1.png,{junk},{junk}")
            file.write_text(text.replace(f"{names(2)},gate", f"{junk},gate"), encoding="utf-8")
            data = ImageList(file=file).load()
            assert (
                data.identities == (0, 1) and data.gallery.ids.tolist()[-1] == data.gallery.cameras.tolist()[-1] == -1
            )

    @pytest.mark.parametrize("way", ["dots", "link", "linked folder", "absolute"])
    def test_an_image_is_listed_once_however_its_path_is_written(self, tree: Tree, tmp_path: Path, way: str):
        file = tree("csv")
        image = file.parent / "bïlder mit blank" / "query 3 0.png"
        (tmp_path / "link.png").symlink_to(image)
        (tmp_path / "folder").symlink_to(image.parent)
        path = {
            "dots": f"{image.parent.name}/../{image.parent.name}/{image.name}", "link": tmp_path / "link.png",
            "linked folder": tmp_path / "folder" / image.name, "absolute": image,
        }[way]  # fmt: skip
        file.write_text(f"{file.read_text(encoding='utf-8')}\n{path},Ann 3,gate 2,gallery", encoding="utf-8")
        with pytest.raises(ValueError, match=r"listed once, .*\(line 8; line 14\)"):
            ImageList(file=file).listed()

    def test_links_to_different_images_are_different(self, tree: Tree, tmp_path: Path):
        file = tree("csv")
        (tmp_path / "link.png").symlink_to(paint(tmp_path / "elsewhere" / "link.png"))
        file.write_text(
            f"{file.read_text(encoding='utf-8')}\n{tmp_path / 'link.png'},Ann 3,b,gallery", encoding="utf-8"
        )
        assert len(ImageList(file=file).listed().gallery) == 5

    def test_numbers_of_20_digits_are_names(self, tree: Tree):
        file = tree("csv", names=lambda one: f"{10**20 + one}")
        assert ImageList(file=file).load().identities == (0, 1, 2)

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ("a.png,Eve,1,test", r'line 15: split must be one of train, query, gallery; got "test"'),
            ("a.png,,1,train", "line 15: the column identity is empty"),
            ("a.png,Eve", "line 15: the column split is empty"),
            (
                "a, b.png,Eve,1,train",
                "line 15: there are more cells than columns; put a cell with a separator in quotes",
            ),
            ("extra.png,Ann 3,-1,query", "line 15: a query needs a known camera; got -1"),
            ("extra.png,Ann 3,-2.0,query", "line 15: a query needs a known camera; got -2.0"),
            (f"{'long' * 200}.png,Eve,1,train", r"must be a file; missing: .*longlong.png \(line 15\)"),
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
            (
                b"path|identity|split\na|b|c",
                "separated by comma, semicolon or tab; .* missing from: path|identity|split",
            ),
            (b"\n\npath;identity;who\na;b;c", "line 3: .*; split is missing from: path, identity, who"),
            ("path,identity,split\n".encode("utf-16"), "must be a CSV file in UTF-8; save it as such"),
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
