"""Frames of videos and folders, and the boxes in them."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.data.frame_boxes import FrameBox, read_boxes
from nas.data.frames import frames_of

WIDTH, HEIGHT, NUM_FRAMES = 64, 48, 7


def grey(number: int) -> Image.Image:
    return Image.new("RGB", (WIDTH, HEIGHT), (30 * number,) * 3)


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """Frame n is n times as bright as the first."""
    av = pytest.importorskip("av")
    path = tmp_path_factory.mktemp("video") / "gate.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=5)  # loses nothing
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "bgr0"
        for number in range(NUM_FRAMES):
            container.mux(stream.encode(av.VideoFrame.from_image(grey(number))))
        container.mux(stream.encode())
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "frames/late").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    grey(1).save(tmp_path / "frames/b.png")
    grey(2).save(tmp_path / "frames/late/a.jpg", exif=exif)
    return tmp_path / "frames"


def test_a_videos_frames_have_their_numbers(video):
    frames = frames_of(video)
    found = {name: int(np.asarray(frame).mean()) for name, frame in frames.read()}
    assert found == {str(number): 30 * number for number in range(NUM_FRAMES)}
    assert frames.size("3") == (WIDTH, HEIGHT) and frames.named("003") == "3"


def test_frames_that_nobody_wants_are_not_given(video):
    assert [name for name, _ in frames_of(video).read({"4", "1"})] == ["1", "4"]
    assert [*frames_of(video).read(set())] == []


@pytest.mark.parametrize("name", ["7", "-1", "a", "1.5", ""])
def test_a_frame_that_the_video_lacks_is_named(video, name):
    with pytest.raises(ValueError, match="has the frames 0 to 6, and none called"):
        frames_of(video).named(name)


def test_a_video_that_ends_early_says_so(video):
    frames = frames_of(video)
    with pytest.raises(ValueError, match="ends with frame 6, and frame 9 is asked for"):
        list(frames.read({"9"}))


def test_a_folders_frames_have_their_paths_and_are_turned(folder):
    frames = frames_of(folder)
    assert [(name, frame.size) for name, frame in frames.read()] == [("b.png", (64, 48)), ("late/a.jpg", (48, 64))]
    assert (frames.size("b.png"), frames.size("late/a.jpg")) == ((64, 48), (48, 64))
    assert [name for name, _ in frames.read({"late/a.jpg"})] == ["late/a.jpg"]
    with pytest.raises(ValueError, match=r"no frame called 'a.jpg'; its first is 'b.png'"):
        frames.named("a.jpg")


def test_what_is_no_video_is_named(tmp_path, monkeypatch):
    (tmp_path / "no.mp4").write_bytes(b"nothing of a video" * 1000)
    with pytest.raises(ValueError, match=r"no.mp4 cannot be read: Invalid data found"):
        frames_of(tmp_path / "no.mp4")
    with pytest.raises(ValueError, match="does not exist: give a video, or a folder"):
        frames_of(tmp_path / "nowhere.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=r"pip install 'nas-reid\[deploy\]'"):
        frames_of(tmp_path / "no.mp4")


def boxes(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows) + "\n")
    return path


def test_boxes_are_read_with_their_tracks(folder, tmp_path, capfd):
    file = boxes(tmp_path / "boxes.csv", "track;Frame;x;y;w;h;more", "a;b.png;1;2.5;10;20;", ";late/a.jpg;-4;50;10;40;")
    found = read_boxes(file, frames_of(folder))
    assert found == (
        FrameBox(frame="b.png", box=(1, 2.5, 10, 20), track="a"),
        FrameBox(frame="late/a.jpg", box=(-4, 50, 10, 40)),
    )
    assert "reach out of their frames are clipped: line 3" in capfd.readouterr().err
    images = dict(frames_of(folder).read())
    assert found[0].crop(images["b.png"]).size == (10, 21) and found[1].crop(images["late/a.jpg"]).size == (6, 14)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("b.png,64,0,5,5", r"not so: line 3 \(64, 0, 5, 5 in frame b.png of 64x48 pixels\)"),
        ("b.png,1,1,0,5", "every box must be in its frame"),
        ("c.png,1,1,5,5", "line 3: .* has no frame called 'c.png'"),
        ("b.png,1,one,5,5", 'line 3: y must be a number of pixels; got "one"'),
    ],
)
def test_boxes_that_are_none_are_named(folder, tmp_path, row, said):
    file = boxes(tmp_path / "boxes.csv", "frame,x,y,w,h", "b.png,1,1,5,5", row)
    with pytest.raises(ValueError, match=said):
        read_boxes(file, frames_of(folder))


def test_a_column_that_is_missing_is_named(folder, tmp_path):
    with pytest.raises(ValueError, match="track may be left out.*h is missing from: frame, x, y, w"):
        read_boxes(boxes(tmp_path / "boxes.csv", "frame,x,y,w", "b.png,1,1,5"), frames_of(folder))
