"""Configurations as JSON and back."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest

from nas.cli.find_recipe import recipe_named, recipes
from nas.data.images import Images
from nas.data.sets.csv_file import ImageList
from nas.data.sets.market1501 import Market1501
from nas.data.source import DataSource
from nas.recipe import Recipe
from nas.system.config import decode, differences, encode, fingerprint, portable
from search_spaces.cell import Cells
from search_spaces.space import SearchSpace
from students.reid import ReID


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: int = 3
    where: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Deeper(Inner):
    rate: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    numbers: tuple[int, ...] = (1, 2)
    pair: tuple[float, float] = (0.9, 0.999)
    mode: Literal["a", "b"] = "a"
    label: str = ""
    on: bool = False


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_survives_a_file(name):
    _, recipe = recipe_named(name)
    assert decode(json.loads(json.dumps(encode(recipe))), Recipe) == recipe


class TestDecode:
    def test_the_class_that_was_written_comes_back(self):
        value = Outer(inner=Deeper(size=4, where=Path("a/b"), rate=2.0), numbers=(), mode="b", label="x", on=True)
        assert decode(json.loads(json.dumps(encode(value))), Outer) == value

    def test_fields_that_an_older_version_did_not_know_take_their_default(self):
        assert decode({"kind": "Outer", "label": "old"}, Outer) == Outer(label="old")

    def test_whole_numbers_will_do_for_real_ones(self):
        assert decode({"kind": "Deeper", "rate": 2}, Inner) == Deeper(rate=2.0)

    @pytest.mark.parametrize(
        "change, message",
        [
            ({"inner": {"kind": "Inner", "size": "3"}}, r"config\.inner\.size must be .*int.*, not '3'"),
            ({"inner": {"kind": "Inner", "size": 3.0}}, r"config\.inner\.size must be"),
            ({"inner": {"kind": "Inner", "size": True}}, r"config\.inner\.size must be"),
            ({"inner": None}, r"config\.inner must be"),
            ({"inner": {"kind": "Iner"}}, r"config\.inner is a 'Iner', which is not known here .did you mean 'Inner'"),
            ({"inner": {"kind": "Outer"}}, r"config\.inner is a 'Outer', which is not known here"),
            (
                {"inner": {"kind": "Inner", "sise": 1}},
                r"config\.inner: Inner has no field \['sise'\]; it has \['size', 'wh",
            ),
            ({"mode": "c"}, r"config\.mode must be .*not 'c'"),
            ({"numbers": [1, "2"]}, r"config\.numbers must be .*not '2'"),
            ({"pair": [0.5]}, r"config\.pair must be"),
            ({"on": 1}, r"config\.on must be"),
            ({"label": None}, r"config\.label must be"),
        ],
    )
    def test_errors_name_the_place(self, change, message):
        with pytest.raises(ValueError, match=message):
            decode(encode(Outer()) | change, Outer)

    def test_only_data_can_be_encoded(self):
        with pytest.raises(TypeError, match="not function"):
            encode(Outer(label=lambda: 1))

    def test_a_users_own_class_is_known_once_it_is_there(self):
        text = json.dumps(encode(Outer())).replace('"Inner"', '"Homemade"')
        with pytest.raises(ValueError, match="'Homemade', which is not known here.*names its file: --plugin FILE"):
            decode(json.loads(text), Outer)

        @dataclass(frozen=True, kw_only=True)
        class Homemade(Inner):
            pass

        assert isinstance(decode(json.loads(text), Outer).inner, Homemade)


class TestFingerprint:
    def test_depends_on_every_field_and_class(self):
        base = Outer()
        others = [Outer(label="x"), Outer(numbers=(1,)), Outer(inner=Deeper()), Outer(inner=Inner(size=4))]
        assert len({fingerprint(value) for value in [base, *others]}) == 5
        assert fingerprint(base) == fingerprint(Outer()) != fingerprint(base, 1)

    def test_does_not_depend_on_where_the_data_lies(self):
        here, there = (Market1501(root=Path(folder) / "data") for folder in ("here", "there"))
        assert fingerprint(here) == fingerprint(there) and portable(here) == portable(there)
        assert fingerprint(here) != fingerprint(Market1501(root=Path("here/other")))


class TestDifferences:
    def test_names_each_field_once(self):
        old, new = encode(Outer()), encode(Outer(inner=Inner(size=5), label="x"))
        assert differences(old, new) == ["inner.size: 3, now 5", "label: '', now 'x'"]

    def test_another_class_is_one_difference(self):
        assert differences(encode(Outer()), encode(Outer(inner=Deeper()))) == ["inner: Inner, now Deeper"]

    def test_equal_configurations_have_none(self):
        assert differences(encode(Outer()), encode(replace(Outer()))) == []


def test_kinds_of_data_and_spaces_are_told_apart():
    csv = ImageList(file=Path("x.csv"), single_images="drop")
    assert decode(encode(csv), DataSource) == csv
    assert decode(encode(ReID(backbone=Cells(cells=3, reductions=()))), SearchSpace).backbone.reductions == ()


def test_what_has_no_effect_is_written_and_not_compared():
    one, two = Images(max_gib=1.0), Images(max_gib=2.0, workers=3)
    assert encode(two)["workers"] == 3 and decode(encode(two), Images) == two
    assert fingerprint(one) == fingerprint(two) != fingerprint(Images(width=64))
    assert differences(portable(one), portable(two)) == []
