"""The table of single queries comes back as it was written."""

import numpy as np
import pytest

from nas.report.query_results import COLUMNS, Found, FoundBox, Queries


def queries(**changed) -> Queries:
    fields = {
        "names": ("a, b.jpg", 'ü "c".png'),
        "ids": np.array([3, 4]),
        "cameras": np.array([1, 2]),
        "average_precision": np.array([1 / 3, np.nan]),
        "first_match_rank": np.array([2, 0]),
    }
    return Queries(**fields | changed)


FOUND = (
    (
        Found(name="=1+1.jpg", identity=-1, camera=None, distance=0.25),
        Found(name="b", identity=3, camera=1, distance=1.0),
    ),
    (Found(name="\r'c", identity=4, camera=0, distance=1e-7),),
)


@pytest.mark.parametrize("cameras", [np.array([1, 2]), None])
@pytest.mark.parametrize("found", [FOUND, ()])
def test_round_trip(tmp_path, cameras, found):
    one = queries(cameras=cameras, found=found, names=("=a, b.jpg", 'ü "c".png'))
    two = Queries.load(one.save(tmp_path / "queries" / "student.csv"))
    assert one.names == two.names and one.found == two.found
    for name in ("ids", "cameras", "average_precision", "first_match_rank"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_queries_in_frames(tmp_path):
    """Two of one frame are told apart by their boxes."""
    box, other = (1.0, 2.5, 1020.25, 40.0), (0.0, 0.0, 9.0, 20.0)
    near = FoundBox(name="b.jpg", box=other, camera=None, right=True, similarity=0.0)
    far = FoundBox(name="c.jpg", box=box, camera=2, right=False, similarity=-0.25)
    one = queries(names=("a.jpg",) * 2, boxes=(box, other), cameras=None, found=((near, far), ()))
    two = Queries.load(one.save(tmp_path / "student.csv"))
    assert (two.names, two.boxes, two.found) == (one.names, one.boxes, one.found)
    assert two.labels == ("a.jpg at 1 2.5 1020.25 40", "a.jpg at 0 0 9 20")
    np.testing.assert_array_equal(two.average_precision, one.average_precision)
    text = (tmp_path / "student.csv").read_text()
    (tmp_path / "student.csv").write_text(text.replace("0 0 9 20", "0 0 9"))
    with pytest.raises(ValueError, match="columns of numbers after the names"):
        Queries.load(tmp_path / "student.csv")


def test_files_of_earlier_versions_are_read(tmp_path):
    path = tmp_path / "student.csv"
    path.write_text(",".join(COLUMNS) + "\n-a.jpg,3,,0.5,2\n")
    assert Queries.load(path).names == ("-a.jpg",) and Queries.load(path).found == ()


def test_names_may_hold_any_bytes(tmp_path):
    names = ("a\udcff.jpg", 'ü "b",\nc.jpg')
    path, two = tmp_path / "queries.csv", np.array([1, 2])
    Queries(names=names, ids=two, cameras=None, average_precision=two, first_match_rank=two).save(path)
    assert Queries.load(path).names == ("a\\udcff.jpg", names[1])


def test_wrong_files_are_named(tmp_path):
    path = tmp_path / "student.csv"
    with pytest.raises(ValueError, match="student.csv does not exist: `nas evaluate` writes it"):
        Queries.load(path)
    path.write_text("query,identity\na,1\n")
    with pytest.raises(ValueError, match="line 1: the columns must be query,identity,camera,average_precision"):
        Queries.load(path)
    text = queries().save(path).read_text()
    path.write_text(text.replace(",3,", ",three,"))
    with pytest.raises(ValueError, match="columns of numbers after the names"):
        Queries.load(path)
    for damaged in ("", text.splitlines()[0]):
        path.write_text(damaged)
        with pytest.raises(ValueError, match="student.csv"):
            Queries.load(path)
