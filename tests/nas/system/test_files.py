"""Files are written whole or not at all, and read without running anything that stands in them."""

import json
import os
import pickle
import resource
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from torch import nn

from nas.errors import SaveError
from nas.system.files import check_format, read_json, read_lines, read_object, write_json, write_lines, write_whole
from nas.system.weights import load_into, load_state, load_weights, save_state, save_weights


class Payload:
    """What a stranger's pickle would run."""

    def __reduce__(self):
        return os.mkdir, (os.environ["NAS_TEST_TRACE"],)


@pytest.fixture
def trace(tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_TEST_TRACE", str(tmp_path / "it ran"))
    return tmp_path / "it ran"


@pytest.fixture
def small_disk():
    """No file of this process may pass 4096 bytes; any write beyond fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestWhole:
    def test_no_reader_sees_a_part(self, tmp_path):
        path, texts, seen = tmp_path / "x.json", ["a" * 9999, "b" * 9999], set()
        path.write_text(texts[0])
        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                seen.add(path.read_text())

        reader = threading.Thread(target=read)
        reader.start()
        for i in range(60):
            write_whole(path, lambda file, i=i: file.write(texts[i % 2].encode()))
        done.set()
        reader.join()
        assert seen <= set(texts) and path.read_text() == texts[1]

    def test_a_writer_that_fails_leaves_the_old_file_alone(self, tmp_path):
        def half(file):
            file.write(b"half")
            raise OSError("the cable came off")

        path = write_json(tmp_path / "x.json", {"old": 1})
        with pytest.raises(SaveError, match=r"could not write .*x\.json: the cable came off; what was saved before"):
            write_whole(path, half)
        assert read_json(path) == {"old": 1} and [p.name for p in tmp_path.iterdir()] == ["x.json"]

    def test_what_a_killed_process_left_is_cleared_away(self, tmp_path):
        """Whatever it was writing in the folder; not what is being written, and no file of others."""
        code = (
            "import os, sys; from pathlib import Path; from nas.system.files import write_whole;"
            "write_whole(Path(sys.argv[1]), lambda file: os.kill(os.getpid(), 9))"
        )
        subprocess.run([sys.executable, "-c", code, tmp_path / "y.json"], check=False)
        assert [path.suffix for path in tmp_path.iterdir()] == [".tmp"]
        (tmp_path / ".x.json.4711.tmp").write_text("half, by version 0.1")
        (tmp_path / ".mine.tmp").write_text("of others")

        def write_another(file):
            write_json(tmp_path / "z.json", 1)
            file.write(b"2")

        write_whole(tmp_path / "x.json", write_another)
        assert {p.name for p in tmp_path.iterdir()} == {"x.json", "z.json", ".mine.tmp"}

    def test_a_link_is_replaced_and_what_it_points_at_left_alone(self, tmp_path):
        (tmp_path / "precious").write_text("old")
        (tmp_path / "x.json").symlink_to("precious")
        write_json(tmp_path / "x.json", 1)
        assert not (tmp_path / "x.json").is_symlink() and (tmp_path / "precious").read_text() == "old"

    def test_permissions_are_those_of_the_old_file_or_what_the_umask_leaves(self, tmp_path):
        before = os.umask(0o027)
        try:
            path = write_json(tmp_path / "x.json", 1)
            assert path.stat().st_mode & 0o777 == 0o640
            for mode in (0o600, 0o666):
                path.chmod(mode)
                assert write_json(path, 2).stat().st_mode & 0o777 == mode
            weights = save_weights(tmp_path / "x.safetensors", nn.Linear(1, 1), {})
            assert weights.stat().st_mode & 0o777 == 0o640
        finally:
            os.umask(before)

    @pytest.mark.parametrize(
        "place", ["file/x.json", "folder", "x" * 256], ids=["below a file", "a folder", "too long"]
    )
    def test_where_nothing_can_be_written_the_file_is_named(self, tmp_path, place):
        (tmp_path / "file").write_text("")
        (tmp_path / "folder").mkdir()
        with pytest.raises(SaveError, match=rf"could not write \S*{place}: .*can be written$"):
            write_json(tmp_path / place, 1)
        assert {p.name for p in tmp_path.iterdir()} == {"file", "folder"}

    def test_a_name_may_be_as_long_as_the_file_system_allows(self, tmp_path):
        assert read_json(write_json(tmp_path / ("x" * 255), 1)) == 1

    def test_folders_are_made(self, tmp_path):
        assert read_json(write_json(tmp_path / "a/b/c.json", ["é"])) == ["é"]

    @pytest.mark.parametrize("size", [1500, 9_000, 100_000], ids="{} numbers".format)
    def test_a_write_that_does_not_fit_is_noticed(self, tmp_path, small_disk, size):
        path = save_state(tmp_path / "x.ckpt", {"a": 1})
        with pytest.raises(SaveError, match=r"x\.ckpt"):
            save_state(path, {"a": torch.zeros(size)})
        with pytest.raises(SaveError, match=r"x\.safetensors"):
            save_weights(tmp_path / "x.safetensors", nn.Linear(size, 1), {})
        assert load_state(path) == {"a": 1}


class TestReading:
    def test_weights_and_metadata_come_back(self, tmp_path):
        net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
        tensors, metadata = load_weights(save_weights(tmp_path / "w.safetensors", net, {"of": ["ü", 1]}))
        assert metadata == {"of": ["ü", 1]} and tensors.keys() == net.state_dict().keys()
        assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in tensors.items())

    @pytest.mark.parametrize("dump", [pickle.dumps, lambda x: b"", lambda x: b"\x10" + b"\0" * 20])
    def test_what_is_no_safetensors_file_is_refused_and_not_run(self, tmp_path, trace, dump):
        path = tmp_path / "w.safetensors"
        path.write_bytes(dump(Payload()))
        with pytest.raises(ValueError, match=r"w\.safetensors is not a safetensors file"):
            load_weights(path)
        assert not trace.exists()

    def test_a_checkpoint_runs_nothing(self, tmp_path, trace):
        torch.save({"fingerprint": "", "x": Payload()}, tmp_path / "search.ckpt")
        with pytest.raises(ValueError, match=r"search\.ckpt"):
            load_state(tmp_path / "search.ckpt")
        assert not trace.exists()

    def test_missing_and_damaged_files_are_named(self, tmp_path):
        with pytest.raises(ValueError, match=r"no\.safetensors does not exist"):
            load_weights(tmp_path / "no.safetensors")
        with pytest.raises(ValueError, match=r"no\.json does not exist"):
            read_json(tmp_path / "no.json")
        (tmp_path / "bad.json").write_text('{"a": ')
        with pytest.raises(ValueError, match=r"bad\.json is not JSON"):
            read_json(tmp_path / "bad.json")
        (tmp_path / "cut.ckpt").write_bytes(save_state(tmp_path / "x.ckpt", {"a": torch.ones(99)}).read_bytes()[:300])
        with pytest.raises(ValueError, match=r"cut\.ckpt"):
            load_state(tmp_path / "cut.ckpt")

    def test_json_is_readable_by_others(self, tmp_path):
        write_json(tmp_path / "x.json", {"mAP": 0.5, "name": "größe"})
        assert json.loads((tmp_path / "x.json").read_bytes()) == {"mAP": 0.5, "name": "größe"}


NET = nn.Linear(3, 2)
STATE = {"fingerprint": "f", "parts": {"net": NET.state_dict()}, "history": [{"epoch": 0, "loss": 0.25}]}
DATA = {"space": "cells", "decisions": {"a.0": ["sep3@0"], "width": 0.5}, "none": None}
HISTORY = [{"epoch": epoch, "loss": {"total": 0.5}, "text": "größe"} for epoch in range(3)]
KINDS = {
    "x.jsonl": (lambda path: write_lines(path, HISTORY), read_lines),
    "x.ckpt": (lambda path: save_state(path, STATE), load_state),
    "x.safetensors": (lambda path: save_weights(path, NET, {"space": "cells"}), load_weights),
    "x.json": (lambda path: write_json(path, DATA), read_json),
}


class TestChecksums:
    @pytest.mark.medium
    @pytest.mark.parametrize("name", KINDS)
    def test_a_flipped_bit_is_refused_or_changes_nothing(self, tmp_path, name):
        write, read = KINDS[name]
        path = write(tmp_path / name)
        content, whole = path.read_bytes(), repr(read(path))
        refused = []
        last, anywhere = 8 * len(content) - 8, np.random.default_rng(0).choice(8 * len(content), 200, replace=False)
        for bit in (*range(last, last + 8), *anywhere.tolist()):
            flipped = bytearray(content)
            flipped[bit // 8] ^= 1 << (bit % 8)
            path.write_bytes(flipped)
            try:
                assert repr(read(path)) == whole
            except ValueError as error:
                refused.append(str(error))
        assert len(refused) > 150
        assert all(str(path) in said and "\n" not in said for said in refused)

    def test_a_checkpoint_of_an_earlier_version_opens_and_is_compared_with_torchs_own_sums(self, tmp_path):
        path, state = tmp_path / "x.ckpt", {"a": torch.ones(99)}
        torch.save(state, path)
        assert torch.equal(load_state(path)["a"], state["a"])
        place = path.read_bytes().index(state["a"].numpy().tobytes())
        path.write_bytes(path.read_bytes()[:place] + b"\1" + path.read_bytes()[place + 1 :])
        with pytest.raises(ValueError, match=r"x\.ckpt is damaged.*make it again"):
            load_state(path)

    def test_without_torchs_own_sums_a_file_opens(self, tmp_path):
        torch.serialization.set_crc32_options(False)
        try:
            torch.save({"a": 1}, tmp_path / "x.ckpt")
        finally:
            torch.serialization.set_crc32_options(True)
        assert load_state(tmp_path / "x.ckpt") == {"a": 1}

    def test_what_was_written_anew_has_no_checksum(self, tmp_path):
        path = write_json(tmp_path / "x.json", DATA)
        path.write_text(json.dumps(DATA | {"width": 1}))
        assert read_json(path) == DATA | {"width": 1}

    def test_what_was_changed_in_place_is_refused_with_a_way_on(self, tmp_path):
        path = write_json(tmp_path / "x.json", DATA)
        path.write_text(path.read_text().replace("0.5", "0.7"))
        with pytest.raises(ValueError, match=r"x\.json is not what was written .*on purpose, take the blanks"):
            read_json(path)
        path.write_text("".join(line.rstrip() + "\n" for line in path.read_text().splitlines()))
        assert read_json(path)["decisions"]["width"] == 0.7

    def test_the_same_content_is_the_same_file(self, tmp_path):
        for write, _ in KINDS.values():
            assert write(tmp_path / "a").read_bytes() == write(tmp_path / "b").read_bytes()


class TestLoadInto:
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))

    def test_the_first_tensor_that_differs_is_named(self):
        good = self.net.state_dict()
        without = {name: tensor for name, tensor in good.items() if name != "0.bias"}
        for wrong, message in [
            (without, "the file has no tensor '0.bias'"),
            (good | {"2.weight": torch.ones(1)}, "the file has a tensor '2.weight'"),
            (good | {"1.weight": torch.ones(9, 3)}, r"'1.weight' has shape \(9, 3\), .*\(1, 3\)"),
        ]:
            with pytest.raises(ValueError, match=message):
                load_into(self.net, wrong, "the file")

    def test_loads(self):
        other = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
        load_into(other, self.net.state_dict(), "the file")
        assert all(map(torch.equal, other.state_dict().values(), self.net.state_dict().values()))


class TestJson:
    """Whatever stands in a file of another tool, reading ends in one line that names the file."""

    @pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 500 + "]" * 500, "1" * 5000, "\xff", ""])
    @pytest.mark.parametrize("read", [read_json, read_object])
    def test_what_cannot_be_read_is_named(self, tmp_path, text, read):
        (tmp_path / "x.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(ValueError, match=r"^\S*x\.json (is not JSON|must not be nested more than 100 levels)"):
            read(tmp_path / "x.json")

    @pytest.mark.parametrize(("text", "what"), [("[]", "a list"), ("3", "a number"), ("true", "a truth value")])
    def test_an_object_is_asked_for(self, tmp_path, text, what):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(ValueError, match=rf"x\.json must hold a JSON object, and holds {what}"):
            read_object(tmp_path / "x.json")

    def test_a_folder_is_no_file(self, tmp_path):
        with pytest.raises(ValueError, match="cannot be read: Is a directory"):
            read_json(tmp_path)

    @pytest.mark.parametrize("text", ['{"a": "\\ud800"}', '["\\uDFFFa"]', '{"\\udc00\\ud800": 1}'])
    def test_half_a_character_is_named(self, tmp_path, text):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(ValueError, match=r"a\.json must hold whole characters"):
            read_json(tmp_path / "a.json")
        (tmp_path / "a.json").write_text('"\\ud83d\\ude00"')
        assert read_json(tmp_path / "a.json") == "\N{GRINNING FACE}"

    def test_nesting_of_real_files_is_fine(self, tmp_path):
        (tmp_path / "x.json").write_text("[" * 99 + "]" * 99)
        assert read_json(tmp_path / "x.json")[0][0]

    @pytest.mark.parametrize("rest", ['{"epoch": 2', '{"loss": "\xc3', "[", "[1]", ""])
    def test_a_torn_last_line_counts_as_not_written(self, tmp_path, rest):
        (tmp_path / "h.jsonl").write_bytes(b'{"epoch": 0}\n\n{"epoch": 1}\n' + rest.encode("latin-1"))
        assert read_lines(tmp_path / "h.jsonl") == [{"epoch": 0}, {"epoch": 1}]

    def test_a_last_line_that_is_whole_counts(self, tmp_path):
        (tmp_path / "h.jsonl").write_text('{"epoch": 0}\n{"epoch": 1}')
        assert len(read_lines(tmp_path / "h.jsonl")) == 2

    def test_a_broken_line_is_named(self, tmp_path):
        (tmp_path / "h.jsonl").write_text('{"epoch": 0}\n{"epo\n{"epoch": 2}\n')
        with pytest.raises(ValueError, match=r"line 2 of \S*h\.jsonl is not JSON"):
            read_lines(tmp_path / "h.jsonl")

    @pytest.mark.parametrize(
        ("written", "message"),
        [(3, "has format 3, this version reads 2: update it"), ("2", "from 1 to 2, not '2'"), (True, "not True")],
    )
    def test_formats(self, written, message):
        assert check_format({}, 2, "x.json") == 1
        with pytest.raises(ValueError, match=f"x.json .*{message}"):
            check_format({"format": written}, 2, "x.json")
