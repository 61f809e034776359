"""Photographs for `cargo xtask bench --peers torchvision`: `pictures.py FOLDER`.

Crops of the photographs that come with scikit-image and scikit-learn, of 256 to 512 pixels a side: four JPEG files of several qualities and
samplings, then a PNG, in ten folders. The same files whenever it runs.
"""

import random
import sys
from pathlib import Path

import skimage
import sklearn
from PIL import Image

COUNT = 400
SKIMAGE = ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg"]
SKLEARN = ["china.jpg", "flower.jpg"]


def main() -> None:
    folder = Path(sys.argv[1])
    sources = [Path(skimage.__file__).parent / "data" / name for name in SKIMAGE]
    sources += [Path(sklearn.__file__).parent / "datasets" / "images" / name for name in SKLEARN]
    photographs = [Image.open(source).convert("RGB") for source in sources]
    draw = random.Random(0)
    for number in range(COUNT):
        photograph = photographs[number % len(photographs)]
        width, height = (draw.randint(256, min(512, side)) for side in photograph.size)
        left, top = (draw.randint(0, most - side) for most, side in zip(photograph.size, (width, height)))
        picture = photograph.crop((left, top, left + width, top + height))
        place = folder / f"class {number % 10}"
        place.mkdir(parents=True, exist_ok=True)
        if number % 5 == 4:
            picture.save(place / f"{number:04}.png")
        else:
            quality, sampling = draw.choice([75, 85, 90, 95]), draw.choice([0, 2, 2, 2])
            picture.save(place / f"{number:04}.jpg", quality=quality, subsampling=sampling)


main()
