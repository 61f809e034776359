"""The torchvision side of `cargo xtask bench --peers torchvision`: `peer.py FOLDER BATCH WORKERS official|resize EXCHANGE.safetensors`.

An ImageFolder and a DataLoader of so many worker processes. For each line of standard input it reads as many batches as the pictures make,
and answers with the time. `official` crops as ADM, DiT and SiT do, from the description of that crop; `resize` is torchvision's Resize and
CenterCrop.
"""

import json
import sys
import time

import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

SIZE = 256


def say(**answer) -> None:
    print(json.dumps(answer), flush=True)


def center_crop(image: Image.Image) -> Image.Image:
    """Halves with the box filter while both sides stay twice the size, then resizes by the bicubic filter, then crops."""
    while min(image.size) >= 2 * SIZE:
        image = image.resize(tuple(side // 2 for side in image.size), resample=Image.Resampling.BOX)
    scale = SIZE / min(image.size)
    image = image.resize(tuple(round(side * scale) for side in image.size), resample=Image.Resampling.BICUBIC)
    left, top = ((side - SIZE) // 2 for side in image.size)
    return image.crop((left, top, left + SIZE, top + SIZE))


class Endless(Dataset):
    """The pictures in a new order in each pass, so that workers never stop between them."""

    def __init__(self, pictures: ImageFolder, passes: int) -> None:
        self.pictures = pictures
        draw = torch.Generator().manual_seed(0)
        self.order = torch.cat([torch.randperm(len(pictures), generator=draw) for _ in range(passes)])

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int):
        return self.pictures[self.order[index].item()]


def main() -> None:
    folder, batch, workers, crop, exchange = sys.argv[1:]
    batch = int(batch)
    crops = {"official": [center_crop], "resize": [transforms.Resize(SIZE), transforms.CenterCrop(SIZE)]}
    steps = [transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
    pictures = ImageFolder(folder, transforms.Compose(crops[crop] + steps))
    ours = load_file(exchange)["x"]
    difference = max((pictures[i][0] - image).abs().max().item() for i, image in enumerate(ours))
    torch.set_num_threads(1)
    loader = DataLoader(Endless(pictures, 1000), batch, num_workers=int(workers), drop_last=True)
    batches = iter(loader)
    say(version=f"torchvision {torchvision.__version__}", difference=difference, images=len(pictures))
    for _ in sys.stdin:
        # What was made while the other side worked is not counted.
        for _ in range(2 * int(workers) + 1):
            next(batches)
        start = time.perf_counter()
        for _ in range(len(pictures) // batch):
            x, _ = next(batches)
        say(ms=(time.perf_counter() - start) * 1e3, peak_mib=peak_mib(), sum=x.sum().item())


def peak_mib() -> float:
    with open("/proc/self/status") as status:
        peak = next(line for line in status if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 1024


main()
