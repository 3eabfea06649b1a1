"""A detector as a teacher: what must be the same of it and of its student."""

from __future__ import annotations

from students.teaching import Detector


def check_same_anchors(student: Detector, teacher: Detector) -> None:
    """Raises ValueError unless both start from the same boxes: else their answers to anchors are of different ones."""
    of_student, of_teacher = ((net.rpn.boxes, net.rpn.stride) for net in (student, teacher))
    if of_student != of_teacher:
        said = [f"{boxes.sizes} x {boxes.ratios}, every {stride} pixels" for boxes, stride in (of_student, of_teacher)]
        raise ValueError(
            "student and teacher must have the same anchors: the student has sizes x ratios "
            f"{said[0]}, the teacher {said[1]}. Give the student the teacher's `anchors` and `stride`, or train "
            "another teacher"
        )
