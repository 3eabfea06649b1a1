"""The embedded scenes for person search: synthetic streets, so that everything can be tried without any download."""

from dataclasses import dataclass
from typing import Literal

from nas.data.scenes import SceneData, SceneSource, SearchQueries
from nas.data.synthetic.street import StreetScenes


@dataclass(frozen=True, kw_only=True)
class Street(SceneSource):
    """Synthetic streets with several people each, of any number and size.

    Identities of training and test are apart. Every box of a test identity is a query, looked for in all other test
    scenes. Boxes hold the whole person as far as the picture goes, hidden parts too; of each a quarter or more is
    visible.

    num_train_scenes, num_test_scenes: from the cameras in turn.
    ids_per_scene: people with an identity in each scene. most_passers_by: up to so many more have none.
    height, width: of the scenes, in pixels. Nobody is larger than 0.6 of the height.
    """

    num_train_scenes: int = 160
    num_test_scenes: int = 96
    num_train_ids: int = 32
    num_test_ids: int = 32
    num_cameras: int = 4
    ids_per_scene: int = 3
    most_passers_by: int = 2
    height: int = 160
    width: int = 240
    seed: int = 0

    def __post_init__(self) -> None:
        least = {
            "num_train_scenes": 1, "num_test_scenes": 2, "num_train_ids": self.ids_per_scene,
            "num_test_ids": self.ids_per_scene, "num_cameras": 1, "ids_per_scene": 1, "most_passers_by": 0,
            "height": 48, "width": 48, "seed": 0,
        }  # fmt: skip
        for field, minimum in least.items():
            if getattr(self, field) < minimum:
                raise ValueError(f"Street needs {field} >= {minimum}; got {getattr(self, field)}")

    @classmethod
    def small(cls) -> "Street":
        """At a toy's size."""
        return cls(num_train_scenes=24, num_test_scenes=12, num_train_ids=8, num_test_ids=8, height=96, width=144)

    def listed(self) -> SceneData:
        train = self._scenes("train", self.num_train_scenes, self.num_train_ids).split(0)
        test = self._scenes("test", self.num_test_scenes, self.num_test_ids).split(self.num_train_ids)
        everybody = test.all_boxes
        known = everybody.ids >= 0
        queries = SearchQueries(
            frames=everybody.frames[known], boxes=everybody.corners[known], ids=everybody.ids[known]
        )
        return SceneData(name="Street", train=train, test=test, queries=queries)

    def _scenes(self, part: Literal["train", "test"], num_scenes: int, num_ids: int) -> StreetScenes:
        return StreetScenes(
            part=part, num_scenes=num_scenes, num_ids=num_ids, num_cameras=self.num_cameras,
            ids_per_scene=self.ids_per_scene, most_passers_by=self.most_passers_by, height=self.height,
            width=self.width, seed=self.seed,
        )  # fmt: skip
