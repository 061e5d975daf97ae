"""Drawn scenes that replace UC Merced's images where those are absent: drawings, not photographs.

There is one kind for each of UC Merced's 21 classes, at about its scale of 0.3 metres per pixel.
They are enough to run everything that handles images, from folders to batches. They do not show how
well a network works on real images, and no accuracy in this book is measured on them.
"""

import os
import shutil
import uuid
from pathlib import Path

import cv2
import numpy as np

from alexnet_lib.errors import InputError
from alexnet_lib.teaching.canvas import (
    ASPHALT,
    CONCRETE,
    GRASS,
    LEAVES,
    MIDDLE,
    PAINTS,
    ROOFS,
    SAND,
    SHADE,
    SIDE,
    SOIL,
    WATER,
    WHITE,
    YELLOW,
    Canvas,
)

__all__ = ["DRAW", "draw_scene", "write_scenes"]

LABEL = "Drawn by this book's code: no photographs, and nothing of UC Merced but its class names."
# An aeroplane's half, from nose to tail.
PLANE = [(0.5, 0), (0.46, 0.035), (0.4, 0.05), (0.12, 0.05), (-0.14, 0.45), (-0.22, 0.45)]
PLANE += [(-0.08, 0.05), (-0.36, 0.04), (-0.46, 0.17), (-0.5, 0.17), (-0.46, 0)]


def _agricultural(s):
    s.ground(s.pick(SOIL, (95, 125, 130)))
    crop, step = s.tone(s.pick(GRASS, (60, 105, 75), (85, 150, 135))), s.between(7, 18)
    for y in np.arange(0, SIDE, step):
        s.across(y, crop, s.between(0.5, 0.6) * step)
    if s.pick(True, False):
        s.line(s.curve(s.between(100, 280), 0), s.tone(SAND), s.between(6, 12))


def _airplane(s):
    s.ground(CONCRETE, 10)
    for place in np.arange(0, SIDE, s.between(40, 60)):
        s.across(place, (150, 154, 152), 1)
        s.line([(place, 0), (place, SIDE)], (150, 154, 152), 1)
    s.line(s.curve(s.between(80, 300), 25), YELLOW, 2)
    length, turn = s.between(85, 150), s.pick(0, 0.3, -0.3)
    outline = PLANE + [(x, -y) for x, y in PLANE[::-1]]
    for y in np.arange(MIDDLE % length + s.between(-20, 20), SIDE, 1.05 * length):
        x = MIDDLE + s.between(-15, 15)
        s.shape(outline, x, y, length, s.tone(WHITE, 8), turn, 8)
        s.box(x, y, 0.8 * length, 3, s.pick(*PAINTS), 0, turn)


def _baseballdiamond(s):
    s.ground(GRASS)
    s.trees(25, keep_off=150)
    x, y, base = MIDDLE - s.between(50, 75), MIDDLE - s.between(50, 75), s.between(70, 90)
    home = (round(x), round(y))
    for radius, color in ((2.2, (82, 150, 118)), (1.35, SOIL)):
        axes = (round(radius * base),) * 2
        cv2.ellipse(s.image, home, axes, 0, -3, 93, s.tone(color), -1, cv2.LINE_AA)
    s.box(x + 0.52 * base, y + 0.52 * base, 0.8 * base, 0.8 * base, s.tone(GRASS))
    s.disk(x, y, 0.2 * base, SOIL)
    s.disk(x + base / 2, y + base / 2, 0.1 * base, SOIL)
    for end in ((2.2, 0), (0, 2.2)):
        s.line([(x, y), (x + base * end[0], y + base * end[1])], WHITE, 2)
    for along, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
        s.box(x + along * base, y + down * base, 5, 5, WHITE)


def _beach(s):
    s.ground(SAND, 12)
    shore = s.curve(s.between(150, 230), s.between(4, 10))
    sea, edge = s.tone((135, 120, 60)), [(SIDE, SIDE), (SIDE, 0)]
    s.line(shore, (130, 160, 172), 36)
    s.polygon([*shore, *edge], (160, 155, 105))
    s.polygon([*np.add(shore, (40, 0)), *edge], sea)
    for out in (0, s.between(18, 30), s.between(45, 60), s.between(70, 90)):
        s.line(np.add(shore, (out, 0)), WHITE, max(9 - out / 10, 2))


def _buildings(s):
    s.ground(ASPHALT)
    for x, y in s.grid(s.between(105, 130), s.between(95, 120)):
        s.box(x, y, 96, 88, CONCRETE)
        width, depth, roof = s.between(55, 84), s.between(50, 78), s.tone(s.pick(*ROOFS), 25)
        s.box(x, y, width, depth, roof, s.between(14, 34))
        s.box(x, y, width - 8, depth - 8, np.multiply(roof, 0.9))
        for _ in range(4):
            place = x + width * s.between(-0.3, 0.3), y + depth * s.between(-0.3, 0.3)
            s.box(*place, s.between(5, 14), s.between(5, 12), CONCRETE, 4)


def _chaparral(s):
    s.ground((165, 185, 196), 26)
    s.trees(s.between(260, 480), (2.5, 6), (62, 84, 76), 0.4)


def _denseresidential(s):
    s.neighbourhood((s.between(36, 40), s.between(42, 48)), np.array([34, 40]), s.between(15, 35))


def _mediumresidential(s):
    s.neighbourhood((s.between(68, 80), s.between(82, 95)), np.array([48, 36]), s.between(50, 90))


def _sparseresidential(s):
    s.ground((78, 115, 98), 30)
    s.line(s.curve(s.between(90, 290), 15), ASPHALT, 16)
    s.trees(s.between(110, 170), (7, 16), keep_off=75)
    s.line([(MIDDLE, MIDDLE), (MIDDLE, SIDE)], CONCRETE, 9)
    s.disk(MIDDLE, MIDDLE + 25, 24, CONCRETE)
    x, y, turn = MIDDLE + s.between(-15, 15), MIDDLE + s.between(-20, 0), s.between(-0.5, 0.5)
    s.house(x, y, s.between(55, 75), 40, turn)
    s.house(x + 20, y + 22, 30, s.between(25, 40), turn)


def _forest(s):
    s.ground((35, 58, 42))
    s.trees(s.between(420, 600), (8, 17), s.pick(LEAVES, (45, 90, 62), (52, 75, 66)))


def _freeway(s):
    s.ground(s.pick(GRASS, SOIL), 24)
    s.trees(30, keep_off=90)
    s.road(s.pick(3, 4, 5))


def _overpass(s):
    s.ground(s.pick(GRASS, SOIL), 24)
    s.road(s.pick(3, 4))
    under = s.image.copy()
    s.ground(CONCRETE, 8)
    s.road(s.pick(2, 3), 90)
    width, x = round(s.between(34, 42)), round(MIDDLE)
    bridge, s.image = s.image.transpose(1, 0, 2).copy(), under
    s.box(x + 16, MIDDLE, 2 * width, SIDE, SHADE)
    s.image[:, x - width : x + width] = bridge[:, x - width : x + width]
    for edge in (x - width, x + width):
        s.line([(edge, 0), (edge, SIDE)], WHITE, 3)


def _intersection(s):
    s.ground(s.pick((120, 140, 135), GRASS))
    half = s.between(26, 34)
    for x, y in ((75, 75), (75, 310), (310, 75), (310, 310)):
        s.box(x, y, s.between(70, 110), s.between(70, 110), s.tone(s.pick(*ROOFS)), 12)
    s.trees(30, (5, 9), keep_off=110)
    for color, width in ((CONCRETE, half + 6), (ASPHALT, half)):
        s.box(MIDDLE, MIDDLE, SIDE, 2 * width, color)
        s.box(MIDDLE, MIDDLE, 2 * width, SIDE, color)
    for turn in np.arange(4) * np.pi / 2:
        along, beside = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        for step in np.arange(-half + 4, half, 9):
            s.box(*(MIDDLE + along * (half + 9) + beside * step), 12, 4, WHITE, 0, turn)
        s.box(*(MIDDLE + along * (half + 118)), 190, 2, YELLOW, 0, turn)
        for out in np.arange(half + 30, 190, s.between(26, 60)):
            s.car(*(MIDDLE + along * out + beside * half * s.pick(0.28, 0.72)), turn)


def _golfcourse(s):
    s.ground((62, 108, 80), 24)
    s.trees(s.between(40, 80), (6, 12), keep_off=60)
    s.line(s.curve(MIDDLE, s.between(20, 40)), s.tone((88, 160, 120)), s.between(70, 95))
    green = MIDDLE + s.between(-30, 30), MIDDLE + s.between(-30, 30)
    s.blob(*green, s.between(34, 44), (110, 195, 150))
    for angle in np.arange(s.pick(3, 4, 5)) * 1.3 + s.between(0, 6):
        place = np.add(green, s.between(52, 80) * np.array([np.cos(angle), np.sin(angle)]))
        s.blob(*place, s.between(13, 22), s.tone((190, 220, 232), 6))
    s.disk(*green, 2, WHITE, 3)


def _harbor(s):
    s.ground(WATER, 14)
    boat = [(0.5, 0), (0.2, 0.16), (-0.5, 0.14), (-0.5, -0.14), (0.2, -0.16)]
    length, step = s.between(38, 52), s.between(15, 19)
    for x in np.arange(s.between(0, 60), SIDE + 60, 2 * length + s.between(28, 40)):
        s.line([(x, 0), (x, SIDE)], CONCRETE, 7)
        for y in np.arange(0, SIDE, step):
            for side in (-1, 1):
                s.box(x + side * length / 2, y + step / 2, length, 2, CONCRETE)
                if s.between(0, 1) < 0.88:
                    long = length * s.between(0.7, 1)
                    middle, turn = x + side * (6 + long / 2), 0 if side > 0 else np.pi
                    s.shape(boat, middle, y, long, s.tone(WHITE, 12), turn, 3)
                    s.box(middle, y, long / 3, 6, s.tone(s.pick(*PAINTS)), 0)


def _mobilehomepark(s):
    s.ground((125, 138, 140))
    slant, dx = s.pick(-0.5, 0.5), s.between(32, 38)
    for y in np.arange(s.between(0, 40), SIDE + 50, 88):
        s.across(y, ASPHALT, 18)
        for x in np.arange(0, SIDE, dx):
            home = s.tone((205, 210, 212), 22)
            s.box(x, y + 44, 19, 62, home, 6, slant)
            s.box(x, y + 44, 9, 62, np.add(home, 18), 0, slant)
            if s.pick(True, False):
                s.car(x + 16, y + 36, np.pi / 2 + slant)
    s.trees(18, (4, 7))


def _parkinglot(s):
    s.ground(ASPHALT, 8)
    full, step = s.between(0.7, 1), s.between(11, 12.5)
    for y in np.arange(s.between(0, 40), SIDE, 66):
        for x in np.arange(0, SIDE, step):
            s.line([(x, y - 19), (x, y + 19)], WHITE, 1)
            for side in (-1, 1):
                if s.between(0, 1) < full:
                    s.car(x + step / 2, y + side * 10, np.pi / 2)
        s.across(y, WHITE, 1)


def _river(s):
    s.ground(s.pick(GRASS, (70, 105, 85)), 30)
    s.trees(s.between(150, 260), (5, 12))
    course, width = s.curve(MIDDLE, s.between(18, 40)), s.between(55, 95)
    for color, extra in ((SAND, 12), (s.tone(s.pick(WATER, (88, 105, 82))), 0)):
        s.line(course, color, width + extra)


def _runway(s):
    s.ground(s.pick(GRASS, SOIL), 20)
    half, start = s.between(50, 66), s.between(60, 130)
    s.box(MIDDLE, MIDDLE, SIDE, 2 * half + 24, s.tone((125, 130, 128)))
    s.box(MIDDLE, MIDDLE, SIDE, 2 * half, s.tone((108, 108, 106)))
    s.across(MIDDLE, s.tone((78, 78, 78), 5), 30)
    for edge in (-1, 1):
        s.across(MIDDLE + edge * (half - 5), WHITE, 3)
    for y in np.linspace(MIDDLE - half + 14, MIDDLE + half - 14, 10):
        s.across(y, WHITE, 6, 0, start, start + 50)
    s.across(MIDDLE, WHITE, 4, 30, start + 75)


def _storagetanks(s):
    s.ground(s.pick(CONCRETE, SOIL, GRASS), 20)
    radius = s.pick(24, 32, 44, 60)
    pitch = 2.7 * radius
    for place in np.arange(0, SIDE, pitch):
        s.across(place, s.tone(SAND), 6)
    for x, y in s.grid(pitch, pitch, 0.1 * radius):
        size, roof = radius * s.between(0.75, 1), s.tone(s.pick(WHITE, (205, 212, 214)), 10)
        s.disk(x, y, size, roof, 0.55 * radius)
        s.disk(x, y, 0.88 * size, np.multiply(roof, 0.93))
        s.line([(x, y), (x + size, y)], CONCRETE, 2)


def _tenniscourt(s):
    s.ground(s.pick(GRASS, CONCRETE))
    s.trees(35, keep_off=150)
    around, play = s.pick((GRASS, (130, 90, 60)), ((85, 105, 150), (90, 130, 85)), (GRASS, SOIL))
    across, down, scale = s.pick(1, 2, 3), s.pick(1, 2), s.between(0.95, 1.15)
    dx, dy = 62 * scale, 122 * scale
    s.box(MIDDLE, MIDDLE, across * dx + 8, down * dy + 8, around, 3)
    for column in np.arange(across) - (across - 1) / 2:
        for row in np.arange(down) - (down - 1) / 2:
            x, y = MIDDLE + column * dx, MIDDLE + row * dy
            for width, length in ((36, 80), (27, 80), (27, 42)):
                s.box(x, y, width * scale + 2, length * scale + 2, WHITE)
                s.box(x, y, width * scale - 2, length * scale - 2, play)
            s.line([(x, y - 21 * scale), (x, y + 21 * scale)], WHITE, 2)
            s.line([(x - 21 * scale, y), (x + 21 * scale, y)], SHADE, 2)


_DRAWINGS = [
    _agricultural, _airplane, _baseballdiamond, _beach,
    _buildings, _chaparral, _denseresidential, _forest,
    _freeway, _golfcourse, _harbor, _intersection,
    _mediumresidential, _mobilehomepark, _overpass, _parkinglot,
    _river, _runway, _sparseresidential, _storagetanks,
    _tenniscourt,
]  # fmt: skip
#: The drawing functions by the name of their class.
DRAW = {draw.__name__[1:]: draw for draw in _DRAWINGS}


def draw_scene(class_name, seed):
    """Draw a scene of one of UC Merced's classes, as seen from above.

    Args:
        class_name: one of UC Merced's 21 classes.
        seed: a non-negative integer, or several. The same seed gives the same pixels; another seed
            gives other places, angles, colours and numbers of objects.

    Returns:
        uint8 array (256, 256, 3), BGR: a drawing, not made from a photograph.

    Raises:
        ValueError: for another class.
    """
    if class_name not in DRAW:
        raise InputError(
            f"class_name must be one of {', '.join(DRAW)}. Received: class_name={class_name!r}"
        )
    canvas = Canvas([*np.atleast_1d(seed), list(DRAW).index(class_name)])
    DRAW[class_name](canvas)
    return canvas.finish()


def write_scenes(folder, per_class=10, seed=0):
    """Draw a folder of scenes in UC Merced's layout, `CLASS/CLASS00.png` ..., atomically.

    A hidden file `.drawn.txt`, which `read_folder` ignores, states that they are drawings.

    Args:
        folder: created if missing; if it exists, it must be empty.
        per_class: number of scenes in each of the 21 classes.
        seed: another seed gives other scenes.

    Returns:
        The folder as a `Path`, for `read_folder`.

    Raises:
        FileExistsError: if the folder is not empty.
        ValueError: for less than one scene per class.
    """
    folder = Path(folder)
    if per_class < 1:
        raise InputError(f"per_class must be 1 or more. Received: per_class={per_class}")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileExistsError(f"{folder}: expected a new or empty folder for drawn scenes")
    partial = folder.with_name(f".{uuid.uuid4().hex}-{folder.name}")
    try:
        for name in DRAW:
            (partial / name).mkdir(parents=True)
            for number in range(per_class):
                png = cv2.imencode(".png", draw_scene(name, (seed, number)))[1]
                (partial / name / f"{name}{number:02d}.png").write_bytes(png.tobytes())
        (partial / ".drawn.txt").write_text(LABEL + "\n", encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder
