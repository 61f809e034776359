"""Files for `cargo xtask bench --peers torch-fidelity`: `prepare.py WEIGHTS.safetensors FOLDER COUNT`.

`weights.pth`, the weights as torch-fidelity loads them, and two sets of COUNT crops of the photographs that come with scikit-image and
scikit-learn: `samples.npz` and `real.npz`, arr_0 uint8 [N, 64, 64, 3]. The same files whenever it runs.
"""

import random
import sys
from pathlib import Path

import numpy as np
import skimage
import sklearn
import torch
from PIL import Image
from safetensors.torch import load_file

SIDE = 64
SKIMAGE = ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg"]
SKLEARN = ["china.jpg", "flower.jpg"]


def crops(photographs: list, count: int, seed: int) -> np.ndarray:
    draw = random.Random(seed)
    images = []
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        size = draw.randint(SIDE, 256)
        left, top = (draw.randint(0, side - size) for side in photograph.size)
        picture = photograph.crop((left, top, left + size, top + size))
        images.append(np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)))
    return np.stack(images)


def main() -> None:
    weights, folder, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    torch.save(load_file(weights), folder / "weights.pth")
    sources = [Path(skimage.__file__).parent / "data" / name for name in SKIMAGE]
    sources += [Path(sklearn.__file__).parent / "datasets" / "images" / name for name in SKLEARN]
    photographs = [Image.open(source).convert("RGB") for source in sources]
    np.savez(folder / "real.npz", arr_0=crops(photographs, count, 0))
    # Samples are darker and of less contrast, so that there is a distance.
    samples = crops(photographs, count, 1).astype(np.float32) * 0.7 + 10
    np.savez(folder / "samples.npz", arr_0=samples.astype(np.uint8))


if __name__ == "__main__":
    main()
