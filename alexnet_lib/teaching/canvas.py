"""What drawn scenes are made of: a canvas with shapes, trees, houses and cars, seen from above."""

import cv2
import numpy as np

__all__ = [
    "ASPHALT", "CONCRETE", "GRASS", "LEAVES", "MIDDLE", "PAINTS", "ROOFS", "SAND", "SHADE", "SIDE",
    "SIZE", "SOIL", "WATER", "WHITE", "YELLOW", "Canvas",
]  # fmt: skip

#: Side of a finished scene, in pixels.
SIZE = 256
#: Side of the canvas, from which a scene is cut at a random angle.
SIDE = 384
#: The middle of the canvas, in either direction.
MIDDLE = SIDE / 2
#: Colours, in the order blue, green, red, as everywhere in this book.
ASPHALT, CONCRETE, WHITE, SHADE = (95, 95, 92), (168, 172, 170), (235, 238, 238), (42, 46, 44)
#: Colours of land.
GRASS, LEAVES, SOIL, SAND = (72, 128, 98), (48, 82, 58), (105, 140, 165), (160, 195, 212)
#: Colours of water and of marks on the ground.
WATER, YELLOW = (105, 88, 52), (70, 190, 225)
#: Colours of roofs.
ROOFS = ((120, 128, 135), (88, 100, 140), (150, 155, 160), (80, 95, 112), (190, 195, 198))
#: Colours of cars, boats and aeroplanes.
PAINTS = (WHITE, (55, 52, 50), (60, 50, 160), (140, 75, 50), CONCRETE, (90, 120, 60))


class Canvas:
    """An image to draw on, with the random numbers and the shadows' direction of one scene.

    Places and sizes are in pixels, angles in radians, colours blue, green, red from 0 to 255.
    `shadow` is a length: how far a shape's shadow reaches away from the sun.

    Args:
        seed: a seed of `numpy.random.default_rng`; it alone decides all random numbers.
    """

    def __init__(self, seed):
        self._random = np.random.default_rng(seed).random  # the same stream in every NumPy
        self.image = np.zeros((SIDE, SIDE, 3), np.uint8)
        angle = self.between(0, 2 * np.pi)
        self.away = np.array([np.cos(angle), np.sin(angle)])  # from the sun

    def between(self, low, high):
        """Return a random number from `low` to `high`."""
        return low + (high - low) * self._random()

    def pick(self, *options):
        """Return one of the options at random."""
        return options[int(len(options) * self._random())]

    def tone(self, color, spread=14):
        """Return a colour that differs a little at random."""
        shift = self.between(-spread, spread)
        return [float(np.clip(c + shift + self.between(-5, 5), 0, 255)) for c in color]

    def ground(self, color, rough=16):
        """Cover the canvas with a colour and clouds of lighter and darker places."""
        self.image[:] = np.clip(self.tone(color) + rough * self._clouds(24), 0, 255)

    def _clouds(self, cells):
        coarse = self._random((cells, cells, 1)) - 0.5
        return cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)[..., None]

    def polygon(self, points, color, shadow=0.0):
        """Fill a polygon."""
        for shift, fill in ((shadow, SHADE), (0, color)):
            if shift or fill is color:
                corners = np.rint(np.asarray(points) + shift * self.away).astype(np.int32)
                cv2.fillPoly(self.image, [corners], fill, cv2.LINE_AA)

    def shape(self, outline, x, y, size, color, turn=0.0, shadow=0.0):
        """Fill an outline, scaled by `size`, turned and moved to (x, y)."""
        c, s = np.cos(turn), np.sin(turn)
        points = (np.asarray(outline) * size) @ np.array([[c, s], [-s, c]]) + (x, y)
        self.polygon(points, color, shadow)

    def box(self, x, y, width, height, color, shadow=0.0, turn=0.0):
        """Fill a rectangle around (x, y)."""
        corners = [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]
        self.shape(corners, x, y, (width, height), color, turn, shadow)

    def disk(self, x, y, radius, color, shadow=0.0):
        """Fill a circle."""
        angle = np.linspace(0, 2 * np.pi, 24)
        self.shape(np.c_[np.cos(angle), np.sin(angle)], x, y, radius, color, 0, shadow)

    def blob(self, x, y, radius, color):
        """Fill a round shape with a wavy edge."""
        angle = np.linspace(0, 2 * np.pi, 40)
        waves = [self.between(0, 0.25) * np.sin(n * angle + self.between(0, 6)) for n in (2, 3)]
        outline = np.c_[np.cos(angle), 0.7 * np.sin(angle)] * (1 + sum(waves))[:, None]
        self.shape(outline, x, y, radius, color, self.between(0, 3))

    def line(self, points, color, width):
        """Draw a line through points."""
        points = np.rint(points).astype(np.int32)
        cv2.polylines(self.image, [points], False, color, max(round(width), 1), cv2.LINE_AA)

    def across(self, y, color, width, dash=0, x0=0, x1=SIDE):
        """Draw a horizontal line, in dashes of this length or, for 0, without gaps."""
        for x in np.arange(x0, x1, 3 * dash) if dash else (x0,):
            self.line([(x, y), (min(x + dash, x1) if dash else x1, y)], color, width)

    def curve(self, x, bend):
        """Return points from top to bottom around x."""
        y, phase = np.linspace(-5, SIDE + 5, 60), self.between(0, 6)
        wave = np.sin(y / self.between(45, 75) + phase) + 0.3 * np.sin(y / 17 + 2 * phase)
        return np.c_[x + bend * wave, y]

    def trees(self, count, radius=(6, 12), color=LEAVES, shadow=0.5, keep_off=0):
        """Scatter trees, none closer to the middle than `keep_off`."""
        for _ in range(round(count)):
            x, y, r = self.between(0, SIDE), self.between(0, SIDE), self.between(*radius)
            if np.hypot(x - MIDDLE, y - MIDDLE) >= keep_off:
                green = self.tone(color, 18)
                self.disk(x, y, r, green, shadow * r)
                self.disk(*(np.array([x, y]) - 0.3 * r * self.away), r / 2, np.add(green, 12))

    def house(self, x, y, width, depth, turn=0.0):
        """Draw a roof with a ridge."""
        roof = self.tone(self.pick(*ROOFS))
        self.box(x, y, width, depth, roof, 8, turn)
        ridge = np.array([-np.sin(turn), np.cos(turn)]) * depth / 4
        self.box(x + ridge[0], y + ridge[1], width, depth / 2, np.multiply(roof, 0.8), 0, turn)

    def car(self, x, y, turn=0.0):
        """Draw a car."""
        paint = self.tone(self.pick(*PAINTS))
        self.box(x, y, 15, 7, paint, 2, turn)
        self.box(x, y, 7, 6, np.multiply(paint, 0.6), 0, turn)

    def traffic(self, y, lanes, step=70):
        """Draw a row of cars on each lane."""
        for lane in range(lanes):
            for x in np.arange(self.between(0, step), SIDE, step):
                self.car(x + self.between(-20, 20), y + 13 * lane)

    def road(self, lanes, cars=70):
        """Draw a carriageway in each direction, from left to right through the middle."""
        half = 13 * lanes
        for side in (-1, 1):
            y = MIDDLE + side * (half / 2 + 6)
            self.across(y, self.tone((125, 127, 125), 4), half + 6)
            for lane in range(1, lanes):
                self.across(y - half / 2 + 13 * lane, WHITE, 1, 12)
            self.traffic(y - half / 2 + 6.5, lanes, cars)
        self.across(MIDDLE, self.pick(CONCRETE, GRASS), 7)
        return half + 12

    def neighbourhood(self, plot, size, trees):
        """Draw rows of houses along streets; `plot` and `size` are (width, depth)."""
        self.ground((85, 120, 105))
        dx, dy = plot
        for y in np.arange(self.between(0, 30), SIDE + 2 * dy, 2 * dy + 24):
            self.across(y, ASPHALT, 22)
            for x in np.arange(dx / 2, SIDE, dx):
                for side in (-1, 1):
                    self.box(x + dx / 4, y + side * 16, 9, 20, CONCRETE)
                    gap = 12 + dy / 2 + self.between(-3, 3)
                    beside = x + self.between(-2, 2)
                    self.house(beside, y + side * gap, *(self.between(0.85, 1) * size))
                if self.pick(True, False):
                    self.car(x, y + self.pick(-7, 7))
        self.trees(trees, (4, 9))

    def grid(self, dx, dy, jitter=0.0):
        """Yield the places of a grid, moved by up to `jitter`."""
        for y in np.arange(dy / 2, SIDE, dy):
            for x in np.arange(dx / 2, SIDE, dx):
                yield x + self.between(-jitter, jitter), y + self.between(-jitter, jitter)

    def finish(self):
        """Return uint8 (SIZE, SIZE, 3), cut at a random angle, with light and grain."""
        turn = cv2.getRotationMatrix2D((MIDDLE, MIDDLE), self.between(0, 360), 1)
        turn[:, 2] -= (SIDE - SIZE) / 2
        image = cv2.warpAffine(self.image, turn, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
        light, grain = self.between(0.85, 1.1), 14 * (self._random((SIZE, SIZE, 1)) - 0.5)
        return np.clip(np.rint(light * image + grain), 0, 255).astype(np.uint8)
