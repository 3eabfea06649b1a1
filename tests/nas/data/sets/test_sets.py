from dataclasses import fields
from pathlib import Path

import pytest

from nas.data.sets import SETS, class_for, data_set
from nas.data.sets.csv_file import ImageList
from nas.data.sets.pedestrians import Pedestrians
from nas.data.sets.street import Street
from nas.data.sets.vehicleid import VehicleID


@pytest.mark.parametrize("name", SETS)
def test_path_goes_to_its_field(name: str):
    if {"root", "file"} & {field.name for field in fields(SETS[name])}:
        source = data_set(name, Path("somewhere"))
        assert Path("somewhere") in (getattr(source, "root", None), getattr(source, "file", None))
        with pytest.raises(ValueError, match=f"{name} needs the path of its (folder|file); got none"):
            data_set(name)
    else:
        assert data_set(name) == SETS[name]()
        with pytest.raises(ValueError, match=f'{name} is synthetic and takes no path; got "somewhere"'):
            data_set(name, Path("somewhere"))


def test_further_fields_are_kept():
    assert data_set("vehicleid", "x", repeats=3, strict=True) == VehicleID(root=Path("x"), repeats=3, strict=True)
    assert data_set("csv", Path("x.csv"), single_images="keep") == ImageList(file=Path("x.csv"), single_images="keep")
    assert data_set("pedestrians", None, seed=4) == Pedestrians(seed=4)


@pytest.mark.parametrize(
    ("args", "others", "problem"),
    [
        (("market", Path("x")), {}, "no data set is named 'market' .did you mean 'market1501'"),
        (("imagenet", Path("x")), {}, "there are market1501, dukemtmc, cuhk03"),
        (("market1501", Path("x")), {"distractor": 1}, "no field 'distractor' .did you mean 'distractors'"),
        (("market1501", Path("x")), {"root": Path("y")}, "market1501 has no field 'root'.*its fields are"),
    ],
)
def test_unknown_names_are_errors_with_near_misses(args: tuple, others: dict, problem: str):
    with pytest.raises(ValueError, match=problem):
        data_set(*args, **others)


@pytest.mark.parametrize(
    ("task", "name", "problem"),
    [
        (
            "person_search",
            "market1501",
            "market1501 is a data set for reid, and this is for person_search: .* prw,",
        ),
        ("reid", "street", "street is a data set for person_search, and this is for reid: take one of market1501"),
        ("reid", "stret", "no data set is named 'stret' .did you mean 'street'"),
    ],
)
def test_a_data_set_of_another_task_is_refused(task: str, name: str, problem: str):
    with pytest.raises(ValueError, match=problem):
        class_for(task, name, "this")


def test_a_task_of_ones_own_may_take_any():
    assert class_for(object(), "street", "this") is Street
