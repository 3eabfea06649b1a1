"""The data sets by the names that the command line and other programs give them."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from nas.data.scenes import SceneSource
from nas.data.sets.csv_file import ImageList
from nas.data.sets.cuhk03 import CUHK03
from nas.data.sets.cuhk_sysu import CUHKSYSU
from nas.data.sets.dukemtmc import DukeMTMC
from nas.data.sets.market1501 import Market1501
from nas.data.sets.msmt17 import MSMT17
from nas.data.sets.pedestrians import Pedestrians
from nas.data.sets.prw import PRW, PRWMini
from nas.data.sets.scenes_csv import SceneList
from nas.data.sets.street import Street
from nas.data.sets.vehicleid import VehicleID
from nas.data.sets.vehicles import Vehicles
from nas.data.sets.veri776 import VeRi776
from nas.data.source import DataSource
from nas.errors import named, near_misses

SETS: dict[str, type[DataSource] | type[SceneSource]] = {
    "market1501": Market1501,
    "dukemtmc": DukeMTMC,
    "cuhk03": CUHK03,
    "msmt17": MSMT17,
    "veri776": VeRi776,
    "vehicleid": VehicleID,
    "csv": ImageList,
    "pedestrians": Pedestrians,
    "vehicles": Vehicles,
    "cuhk_sysu": CUHKSYSU,
    "prw": PRW,
    "prw_mini": PRWMini,
    "scenes_csv": SceneList,
    "street": Street,
}


def class_named(name: str) -> type[DataSource] | type[SceneSource]:
    """The data set's class. Raises ValueError with near misses for an unknown name."""
    return named("data set", name, SETS)


def names_for(task: str) -> list[str]:
    """The names of the data sets for a built-in task."""
    return [name for name, kind in SETS.items() if kind.task == task]


def class_for(task: object, name: str, what: str) -> type[DataSource] | type[SceneSource]:
    """The data set's class, if it is for `task`; `what` says whose task that is.

    Raises ValueError naming the data sets of a built-in task when it is for another one.
    """
    found = class_named(name)
    if isinstance(task, str) and found.task != task:
        raise ValueError(
            f"{name} is a data set for {found.task}, and {what} is for {task}: take one of {', '.join(names_for(task))}"
        )
    return found


def data_set(name: str, path: Path | None = None, **others: Any) -> DataSource | SceneSource:
    """The data set `name` at `path`, a folder or a file as its class says; `others` are further fields of the class.

    Raises ValueError naming what is unknown, missing or not wanted. Nothing is read yet.
    """
    known = [field.name for field in fields(class_named(name))]
    place = next((field for field in ("root", "file") if field in known), None)
    if place is None and path is not None:
        raise ValueError(f'{name} is synthetic and takes no path; got "{path}"')
    if place is not None and path is None:
        raise ValueError(f"{name} needs the path of its {'folder' if place == 'root' else 'file'}; got none")
    for other in others:
        if other not in known or other == place:
            allowed = [field for field in known if field != place]
            hint = near_misses(other, allowed)
            raise ValueError(f"{name} has no field {other!r}{hint}; its fields are {', '.join(allowed)}")
    if place is not None and path is not None:
        others[place] = Path(path)
    return SETS[name](**others)
