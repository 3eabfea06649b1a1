"""MATLAB files are read as SciPy reads them, and a damaged one is an error that names it, whichever byte is wrong."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from nas.data.sets.mat_file import read_mat, text_in

CONTENT = {
    "table": np.arange(20.0).reshape(4, 5),
    "cells": np.array(["c1s1_000001", "c1s1_000002"], dtype=object)[:, None],
    "complex": np.array([1 + 2j]),
    "empty": np.empty((0, 5)),
}


@pytest.fixture(params=[False, True], ids=["plain", "compressed"])
def file(request: pytest.FixtureRequest, tmp_path: Path, structs) -> Path:
    content = CONTENT | {"records": structs("name box", [("a", np.array([[1, 2]], dtype=np.uint16)), ("b", 3)])}
    savemat(tmp_path / "a.mat", content, do_compression=request.param)
    return tmp_path / "a.mat"


@pytest.mark.parametrize("name", [*CONTENT, "records"])
def test_what_is_asked_for_comes_as_scipy_reads_it(file: Path, name: str):
    found = read_mat(file, name, "nothing")
    assert list(found) == [name]
    assert repr(found[name]) == repr(loadmat(file)[name])


def test_any_wrong_byte_is_an_error_or_another_value(file: Path):
    """SciPy's reader ends the process for some of these."""
    whole = file.read_bytes()
    rng, said = np.random.default_rng(0), []
    for place in range(120, len(whole), 3):
        file.write_bytes(whole[:place] + bytes([rng.integers(256)]) + whole[place + 1 :])
        try:
            read_mat(file, *CONTENT, "records")
        except ValueError as error:
            said.append(str(error))
    assert len(said) > 20 and all(str(file) in one and "\n" not in one for one in said)


@pytest.mark.parametrize("size", [0, 50, 128, 140, 300])
def test_a_file_cut_short_is_named(file: Path, size: int):
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"a.mat must (be a MATLAB file|have the entry)"):
        read_mat(file, *CONTENT, "records")


def test_what_is_no_matlab_file_is_named(tmp_path: Path):
    (tmp_path / "a.mat").write_text("hello " * 50)
    with pytest.raises(ValueError, match=r"a.mat must be a MATLAB file, and .* does not begin as one of format 5"):
        read_mat(tmp_path / "a.mat", "x")
    with pytest.raises(ValueError, match=r"b.mat does not exist"):
        read_mat(tmp_path / "b.mat", "x")


def test_the_newest_format_is_told_how_to_be_saved(tmp_path: Path):
    (tmp_path / "a.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(600))
    with pytest.raises(ValueError, match="version 7.3: save it with -v7"):
        read_mat(tmp_path / "a.mat", "x")


def test_entries_that_are_missing_are_named_beside_those_that_are_there(file: Path):
    with pytest.raises(ValueError, match=r"must have the entry x or y; it has 'table', 'cells', 'complex'"):
        read_mat(file, "x", "y")


@pytest.mark.parametrize(
    ("cell", "text"),
    [("a", "a"), (np.array(["a b"]), "a b"), (np.array(["a", "b"]), "ab"), (np.empty(0), ""), (np.array(3), "3")],
)
def test_text_is_found_in_any_number_of_arrays(cell: object, text: str):
    wrapped = np.empty((1, 1), dtype=object)
    wrapped[0, 0] = np.array([cell], dtype=object) if isinstance(cell, str) else cell
    assert text_in(cell) == text_in(wrapped) == text
