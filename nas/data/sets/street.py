"""The embedded scenes for person search: synthetic streets, so that everything can be tried without any download."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from nas.data.scenes import SceneData, SceneSource, SearchQueries
from nas.data.synthetic.street import StreetScenes
from nas.system.config import OF_TEST
from search_spaces.ranges import Count, CountOrZero, Range, Seed, TwoOrMore

Side = Annotated[int, Range(least=48, most=8_192)]


@dataclass(frozen=True, kw_only=True)
class Street(SceneSource):
    """Synthetic streets with several people each, of any number and size.

    Identities of training and test are apart. Every box of a test identity is a query, looked for in all other test
    scenes. Boxes hold the whole person as far as the picture goes, hidden parts too; of each a quarter or more is
    visible.
    """

    num_train_scenes: Count = 160
    """Scenes to train on, from the cameras in turn."""
    num_test_scenes: TwoOrMore = field(default=96, metadata=OF_TEST)
    """Scenes to test on, from the cameras in turn."""
    num_train_ids: Count = 32
    """Identities in the training scenes."""
    num_test_ids: Count = field(default=32, metadata=OF_TEST)
    """Identities in the test scenes; none of them is trained on."""
    num_cameras: Count = 4
    """Cameras, each with its own background, light and viewpoint."""
    ids_per_scene: Count = 3
    """People with an identity in each scene."""
    most_passers_by: CountOrZero = 2
    """Most people without an identity in a scene; 0: nobody."""
    height: Side = 160
    """Height of a scene, in pixels; nobody is larger than 0.6 of it."""
    width: Side = 240
    """Width of a scene, in pixels."""
    seed: Seed = 0
    """Seed of what the scenes show."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("num_train_ids", "num_test_ids"):
            if getattr(self, name) < self.ids_per_scene:
                raise self.out_of_range(name, f"be at least ids_per_scene ({self.ids_per_scene})")

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
