"""What brings a student's map to its teacher's channels while the student is trained."""

from torch import nn


class Adapter(nn.Conv2d):
    """The 1x1 convolution between a student's map and a hint (FitNets' regressor); it is trained with the student.

    It starts with weights drawn from N(0, 1 / student_channels), which keep the mean square of a map with independent
    channels, and a bias of 0.
    """

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__(student_channels, teacher_channels, 1)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=self.in_channels**-0.5)
        nn.init.zeros_(self.bias)
