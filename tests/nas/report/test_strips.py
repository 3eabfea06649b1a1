"""A strip says right and wrong by colour and by mark."""

import pytest
from PIL import Image, ImageColor

from nas.report import strips
from nas.report.strips import strip

GREY = Image.new("RGB", (64, 128), "#808080")


def colours(image):
    return {colour for _, colour in image.getcolors(maxcolors=1 << 24)}


def test_frames_tell_right_from_wrong():
    right, wrong = ImageColor.getrgb(strips.RIGHT), ImageColor.getrgb(strips.WRONG)
    assert {right, wrong} <= colours(strip(GREY, [GREY, GREY], [True, False]))
    assert wrong not in colours(strip(GREY, [GREY], [True])) and right not in colours(strip(GREY, [GREY], [False]))


def test_marks_differ_without_colour(monkeypatch):
    monkeypatch.setattr(strips, "WRONG", strips.RIGHT)
    assert strip(GREY, [GREY], [True]).tobytes() != strip(GREY, [GREY], [False]).tobytes()


def test_every_image_and_caption_has_its_place():
    one, ten = strip(GREY, [GREY], [True]), strip(GREY, [GREY] * 10, [False] * 10)
    assert ten.height == one.height and ten.width - one.width == 9 * (96 + 2 * strips.FRAME + strips.GAP)
    long = "a caption that is much too long for one picture"
    assert strip(GREY, [GREY], [True], ["query", long]).size == one.size
    assert strip(GREY, [GREY], [True], ["query", "c3"]).tobytes() != one.tobytes()


def test_what_nobody_knows_is_neither_right_nor_wrong():
    unknown = colours(strip(GREY, [GREY, GREY], [None, None]))
    assert not {ImageColor.getrgb(strips.RIGHT), ImageColor.getrgb(strips.WRONG)} & unknown


def test_many_images_stand_in_rows_beside_the_query():
    row = strip(GREY, [GREY] * 4, [True] * 4)
    rows = strip(GREY, [GREY] * 9, [True] * 9, per_row=4)
    assert rows.width == row.width and rows.height == 3 * row.height - 2 * strips.GAP
    assert rows.crop((0, 0, *row.size)).getpixel((row.width - 40, 60)) == row.getpixel((row.width - 40, 60))
    assert strip(GREY, [GREY] * 3, [True] * 3, per_row=4).tobytes() == strip(GREY, [GREY] * 3, [True] * 3).tobytes()


def test_wide_images_stand_in_wide_frames_and_fill_them():
    car = Image.new("RGB", (128, 96), "#808080")
    sheet = strip(car, [car], [True])
    assert sheet.width / sheet.height > strip(GREY, [GREY], [True]).width / strip(GREY, [GREY], [True]).height
    (grey,) = (number for number, colour in sheet.getcolors(maxcolors=1 << 24) if colour == (128, 128, 128))
    assert grey > 0.97 * (2 * strips.AREA - strips.MARK**2), "no bands above and below"


def test_any_image_will_do_and_none_found_is_fine():
    odd = [Image.new(mode, size) for mode, size in (("L", (1, 300)), ("RGBA", (500, 20)), ("P", (7, 7)))]
    assert strip(odd[0], odd, [True, False, True]).mode == "RGB"
    assert strip(GREY, [], []).width > 96


def test_lists_of_different_length_are_an_error():
    with pytest.raises(ValueError, match="2 ranked images, 1 verdicts and 3 captions"):
        strip(GREY, [GREY, GREY], [True])
    with pytest.raises(ValueError, match="1 captions"):
        strip(GREY, [GREY], [True], ["query"])
