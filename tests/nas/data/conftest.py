"""Small trees in the real layouts of the data sets, as `tree(name)`, below a folder whose name has a blank."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

BOXES = ("labeled", "detected")


def paint(path: Path, colour: int = 90, size: tuple[int, int] = (8, 16)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (colour % 256, 40, 200)).save(path, format="PNG" if path.suffix == ".png" else "JPEG")
    return path


def paint_all(folder: Path, names: str) -> None:
    for number, name in enumerate(names.split()):
        paint(folder / name, 20 * number)


def lines(file: Path, text: str, end: str = "\n") -> None:
    """Writes the words of `text` that stand on a line of their own, with this end of line and none after the last."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(end.join(line.strip() for line in text.strip().splitlines()).encode())


def market1501(folder: Path, root: str = "Market-1501-v15.09.15") -> Path:
    """Three training identities with two images each; two test identities, a distractor and a junk image."""
    paint_all(
        folder / root / "bounding_box_train",
        """
        0002_c1s1_000451_03.jpg 0002_c2s1_000451_03.jpg 0007_c1s1_000451_03.jpg 0007_c2s1_000451_03.jpg
        0011_c1s1_000451_03.jpg 0011_c2s1_000451_03.jpg""",
    )
    paint_all(folder / root / "query", "0001_c1s1_001051_00.jpg 0003_c1s1_001051_00.jpg")
    paint_all(
        folder / root / "bounding_box_test", "0001_c2s1_1_01.jpg 0003_c3s1_1_01.jpg 0000_c2s1_1_01.jpg -1_c2s1_1_01.jpg"
    )
    return folder


def distractors(folder: Path) -> Path:
    paint_all(folder / "500k", "00000002.jpg 00000001.jpg part/0007_c1s1_000451_03.jpg ._00000001.jpg")
    return folder / "500k"


def dukemtmc(folder: Path) -> Path:
    """Two training identities, two test identities, and one that is in the gallery only."""
    root = folder / "DukeMTMC-reID"
    paint_all(
        root / "bounding_box_train",
        "0001_c2_f0046182.jpg 0001_c5_f0051341.jpg 0014_c1_f0046182.jpg 0014_c8_f0051341.jpg",
    )
    paint_all(root / "query", "0005_c2_f0046985.jpg 0023_c1_f0057418.jpg")
    paint_all(root / "bounding_box_test", "0005_c5_f0051781.jpg 0023_c3_f0057418.jpg 0099_c4_f0057418.jpg")
    return folder


def cuhk03(folder: Path) -> Path:
    for boxes in BOXES:
        root = folder / "cuhk03-np" / boxes
        paint_all(root / "bounding_box_train", "0003_c1_21.png 0003_c2_26.png 0004_c1_31.png 0004_c2_36.png")
        paint_all(root / "query", "0001_c1_1.png 0002_c1_11.png")
        paint_all(root / "bounding_box_test", "0001_c2_6.png 0002_c2_16.png")
    return folder


def cuhk03_mat(folder: Path) -> Path:
    """Two pairs of cameras with two identities each, whose second and seventh images are missing; 1, 3 are trained."""
    rng = np.random.default_rng(0)
    names, ids, cameras = [], [], []
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "cuhk-03.mat", "w") as file:
        for boxes in BOXES:
            pairs = file.create_dataset(boxes, (1, 2), dtype=h5py.ref_dtype)
            for pair in range(2):
                cells = file.create_dataset(f"#refs#/{boxes}{pair}", (10, 2), dtype=h5py.ref_dtype)
                pairs[0, pair] = cells.ref
                for column, person in np.ndindex(10, 2):
                    image = rng.integers(256, size=(3, 6 + column, 12), dtype=np.uint8)  # MATLAB's [12, width, 3]
                    empty = np.zeros(2, dtype=np.uint64)  # how MATLAB writes an empty cell
                    content = empty if column in (1, 6) else image
                    cell = file.create_dataset(f"#refs#/{boxes}{pair}{column}{person}", data=content)
                    cells[column, person] = cell.ref
    for pair, person, column in np.ndindex(2, 2, 10):
        if column not in (1, 6):
            names.append(f"{pair + 1}_{person + 1:03d}_{1 + column // 5}_{column + 1:02d}.png")
            ids.append(1 + 2 * pair + person)
            cameras.append(1 + column // 5)
    first = np.arange(len(ids)) % 4 == 0
    train = np.isin(ids, (1, 3))
    places = {"train_idx": train, "query_idx": ~train & first, "gallery_idx": ~train & ~first}
    for boxes in BOXES:
        content = {
            "filelist": np.array(names, dtype=object)[:, None],
            "labels": np.array(ids)[:, None],
            "camId": np.array(cameras, dtype=np.uint8)[:, None],
        }
        content |= {name: np.flatnonzero(mask)[:, None] + 1 for name, mask in places.items()}
        savemat(folder / f"cuhk03_new_protocol_config_{boxes}.mat", content)
    return folder


def msmt17(folder: Path, version: str = "MSMT17_V1") -> Path:
    """Identities 0 and 1 to train, 1 in val too; test identities 0 and 1 are others."""
    root = folder / version
    train, test = ("train", "test") if version == "MSMT17_V1" else ("mask_train_v2", "mask_test_v2")
    images = {
        name: "\n".join(f"{path} {int(path[:4])}" for path in text.split())
        for name, text in {
            "train": "0000/0000_000_01_0303morning_0008_0.jpg 0000/0000_001_15_0303morning_0009_0.jpg "
            "0001/0001_000_02_0303noon_0008_0.jpg",
            "val": "0001/0001_001_03_0303noon_0009_0.jpg",
            "query": "0000/0000_000_05_0303morning_0011_1.jpg 0001/0001_000_06_0303morning_0011_1.jpg",
            "gallery": "0000/0000_001_07_0303morning_0012_1.jpg 0001/0001_001_06_0303morning_0012_1.jpg",
        }.items()
    }
    for name, text in images.items():
        lines(root / f"list_{name}.txt", text, end="\r\n")
        paint_all(root / (train if name in ("train", "val") else test), " ".join(text.split()[::2]))
    return folder


def veri776(folder: Path) -> Path:
    root = folder / "VeRi"
    for part, names in {
        "train": "0001_c001_00016450_0.jpg 0001_c019_00016460_0.jpg 0003_c004_00084250_0.jpg 0003_c020_00084260_0.jpg",
        "query": "0002_c002_00030600_0.jpg 0005_c003_00077625_0.jpg",
        "test": "0002_c011_00083550_0.jpg 0005_c002_00077625_0.jpg 0005_c011_00077635_0.jpg",
    }.items():
        paint_all(root / f"image_{part}", names)
        lines(root / f"name_{part}.txt", names.replace(" ", "\n"))
    return folder


def vehicleid(folder: Path) -> Path:
    """Vehicles 12 and 40 to train; test vehicles 7, 8 and 9 have two, three and five images."""
    root = folder / "VehicleID_V1.0"
    lists = {"train_list": (12, 12, 40, 40, 40), "test_list_800": (9, 7, 8, 9, 8, 9, 7, 9, 8, 9)}
    number = 0
    for name, vehicles in lists.items():
        numbered = range(number + 1, number := number + len(vehicles) + 1)
        paint_all(root / "image", " ".join(f"{one:07d}.jpg" for one in numbered))
        lines(
            root / "train_test_split" / f"{name}.txt",
            "\n".join(f"{one:07d} {vehicle}" for one, vehicle in zip(numbered, vehicles, strict=True)),
        )
    return folder


def csv(folder: Path, *, camera: bool = True, names: Callable[[int], str] = "Ann {}".format) -> Path:
    text = ["path,identity,camera,split" if camera else "path,identity,split"]
    for split, people in {"train": (0, 1, 2), "query": (3, 4), "gallery": (3, 4)}.items():
        for one in people:
            for number in range(1 + (split != "query")):
                path = paint(folder / "bïlder mit blank" / f"{split} {one} {number}.png", 50 * one)
                place = f"gate {number}," if camera else ""
                text.append(f"{path.relative_to(folder)},{names(one)},{place}{split}")
    (folder / "list.csv").write_text("\n".join(text), encoding="utf-8")
    return folder / "list.csv"


def prw(folder: Path, queries: str = "query_info.txt") -> Path:
    """Five training frames with persons 1, 2 and 5, five test frames with 2, 3 and 4, of two cameras, 80x48.

    All three keys and two types of numbers; nobody in a frame, an identity twice in another, boxes without a width or
    a height, out of the frame, and wholly outside it.
    """
    root = folder / "PRW-v16.04.20"
    frames = {
        "c1s1_000001": ("box_new", "f8", [[1, 5, 5, 10, 30], [-2, 40, 4, 12, 36]]),
        "c2s1_000002": ("anno_file", "u2", [[1, 60, 10, 15, 35], [2, 10, 8, 9, 30]]),
        "c1s1_000003": ("anno_previous", "f8", [[2, -3, 5, 12, 30], [2, 30, 5, 10, 28]]),
        "c2s1_000004": ("box_new", "f8", []),
        "c1s1_000005": ("box_new", "i4", [[5, 20, 5, 10, 30], [5, 50, 5, 0, 30], [-2, 100, 5, 9, 30]]),
        "c1s2_000001": ("box_new", "f8", [[3, 5, 5, 10, 30], [2, 40, 4, 12, 36]]),
        "c2s2_000002": ("box_new", "f8", [[3, 60.5, 10.25, 12, 35], [4, 10, 8, 9, 30], [-2, 30, 9, 9, 30]]),
        "c1s2_000003": ("box_new", "f8", [[4, 7, 5, 12, 30], [4, 30, 5, 10, 28]]),
        "c2s2_000004": ("box_new", "f8", [[4, 20, 5, 10, 30], [3, 20, 12, 8, 28]]),
        "c1s2_000005": ("box_new", "f8", []),
    }
    (root / "annotations").mkdir(parents=True)
    for number, (name, (key, kind, rows)) in enumerate(frames.items()):
        savemat(root / "annotations" / f"{name}.jpg.mat", {key: np.array(rows, dtype=kind).reshape(-1, 5)})
        paint(root / "frames" / f"{name}.jpg", 20 * number, (80, 48))
    names = list(frames)
    for part, some in {"train": names[:5], "test": names[5:]}.items():
        savemat(root / f"frame_{part}.mat", {f"img_index_{part}": np.array(some, dtype=object)[:, None]})
    text = """3 5.0000 5.0000 10.0000 30.0000 c1s2_000001
              4 10.0000 8.0000 9.0000 30.0000 c2s2_000002
              3 60.5000 10.2500 12.0000 35.0000 c2s2_000002"""
    lines(root / queries, text, end="\r\n")
    return folder


def structs(names: str, rows: list[tuple]) -> np.ndarray:
    """MATLAB's struct array [1, N] with these fields."""
    array = np.empty((1, len(rows)), dtype=[(name, object) for name in names.split()])
    for place, row in enumerate(rows):
        array[0, place] = row
    return array


def cuhk_sysu(folder: Path) -> Path:
    """Three training frames with two persons, four test frames in which two queries are looked for.

    The first query's gallery lists a frame twice, with another box of the person, and the second's its own frame. A box
    of Images.mat has no width.
    """
    annotation, images = folder / "dataset" / "annotation", folder / "dataset" / "Image" / "SSM"
    boxes = {
        "s1.jpg": [(5, 5, 10, 30), (40, 4, 12, 36)],
        "s2.jpg": [(60, 10, 15, 35), (10, 8, 9, 30), (10, 8, 0, 30)],
        "s3.jpg": [],
        "s4.jpg": [(5, 5, 10, 30), (30, 5, 10, 30)],
        "s5.jpg": [(6, 5, 10, 30), (50, 5, 10, 30)],
        "s6.jpg": [(7, 5, 10, 30), (300, 5, 10, 30)],
        "s7.jpg": [(8, 5, 10, 30)],
    }
    hard = np.zeros((1, 1), dtype=np.uint8)

    def scene(name: str, box: tuple | None) -> tuple:
        return (name, np.array([box], dtype=np.uint16) if box else np.empty((1, 0)), hard)

    def scenes(*found: tuple) -> np.ndarray:
        return structs("imname idlocate ishard", [scene(*each) for each in found])

    def query(person: str, name: str, box: tuple) -> np.ndarray:
        return structs("imname idlocate ishard idname", [(*scene(name, box), person)])

    (annotation / "test" / "train_test").mkdir(parents=True)
    listed = [
        (name, len(some), structs("idlocate ishard", [(np.array([box], dtype=np.uint16), hard) for box in some]))
        for name, some in boxes.items()
    ]
    savemat(annotation / "Images.mat", {"Img": structs("imname nAppear box", listed)})
    savemat(
        annotation / "pool.mat", {"pool": np.array(["s5.jpg", "s4.jpg", "s6.jpg", "s7.jpg"], dtype=object)[:, None]}
    )
    train = np.empty((2, 1), dtype=object)
    train[0, 0] = structs(
        "idname nAppear scene", [("p1", 2, scenes(("s1.jpg", (5, 5, 10, 30)), ("s2.jpg", (10, 8, 9, 30))))]
    )
    train[1, 0] = structs("idname nAppear scene", [("p2", 1, scenes(("s2.jpg", (60, 10, 15, 35))))])
    savemat(annotation / "test" / "train_test" / "Train.mat", {"Train": train})
    protocol = [
        (
            query("p7", "s4.jpg", (5, 5, 10, 30)),
            scenes(("s5.jpg", (6, 5, 10, 30)), ("s5.jpg", (50, 5, 10, 30)), ("s7.jpg", None)),
        ),
        (query("p9", "s6.jpg", (7, 5, 10, 30)), scenes(("s7.jpg", (8, 5, 10, 30)), ("s6.jpg", (7, 5, 10, 30)))),
    ]
    for size in (50, 100):
        file = annotation / "test" / "train_test" / f"TestG{size}.mat"
        savemat(file, {f"TestG{size}": structs("Query Gallery", protocol)})
    for number, name in enumerate(boxes):
        paint(images / name, 20 * number, (80 - number, 48))
    return folder


def scenes_csv(folder: Path) -> Path:
    """Three training and three gallery frames, one of each without persons."""
    names = ("train a", "train b", "train c", "gallery a", "gallery b", "gallery c")
    for number, name in enumerate(names):
        paint(folder / "frames" / f"{name}.png", 20 * number, (80, 48))
    lines(
        folder / "scenes.csv",
        """path,identity,camera,split,x,y,w,h
        frames/train a.png,Ann,1,train,5,5,10,30
        frames/train a.png,-1,1,train,40,4,12,36
        frames/train b.png,Bob,2,train,60.5,10,15,35
        frames/train b.png,Ann,2,train,10,8,9,30
        frames/train c.png,,1,train,,,,
        frames/gallery a.png,Eve,1,gallery,5,5,10,30
        frames/gallery b.png,Eve,2,gallery,60,10,15.5,35
        frames/gallery b.png,-2,2,gallery,10,8,9,30
        frames/gallery c.png,,2,gallery,,,,
        frames/gallery a.png,Eve,1,query,5,5,10,30""",
    )
    return folder / "scenes.csv"


TREES = {
    "market1501": market1501, "distractors": distractors, "dukemtmc": dukemtmc, "cuhk03": cuhk03,
    "cuhk03 mat": cuhk03_mat, "msmt17": msmt17, "veri776": veri776, "vehicleid": vehicleid, "csv": csv,
    "prw": prw, "cuhk_sysu": cuhk_sysu, "scenes_csv": scenes_csv,
}  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """Writes the tree of this name and gives its path: `tree("msmt17", version="MSMT17_V2")`."""
    return lambda name, **options: TREES[name](tmp_path / "bïlder mit blank", **options)


@pytest.fixture(name="structs")
def struct_arrays() -> Callable[..., np.ndarray]:
    """MATLAB's struct arrays: see `structs`."""
    return structs
