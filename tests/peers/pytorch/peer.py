"""The PyTorch side of `cargo xtask bench --peers pytorch`: `peer.py SIZES.json EXCHANGE.safetensors cpu|gpu`.

Loads the weights and inputs that the engine wrote, checks that the forward agrees, then does one training step or one
forward for each line of standard input and answers with its time: the other side works while this one waits.
"""

import json
import os
import sys
import time

import torch
from safetensors.torch import load_file

from sit import SiT
from unet import UNet

LEARNING_RATE = 1e-4
EMA_DECAY = 0.9999
CLASS_DROPOUT = 0.1


def say(**answer) -> None:
    print(json.dumps(answer), flush=True)


def peak_mib() -> float:
    with open("/proc/self/status") as status:
        peak = next(line for line in status if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 1024


def answer(works: dict, want: torch.Tensor) -> None:
    difference = (works["forward"]() - want).abs().max() / want.square().mean().sqrt()
    where = torch.cuda.get_device_name() if torch.get_default_device().type == "cuda" else "CPU"
    say(version=f"PyTorch {torch.__version__} on {where}", difference=difference.item())
    for line in sys.stdin:
        work = works[line.strip()]
        start = time.perf_counter()
        work()
        say(ms=(time.perf_counter() - start) * 1e3, peak_mib=peak_mib())


def convolution(sizes: dict, exchange: dict) -> None:
    """The forward, and the forward with all gradients, in the order of memory that is the faster one on a CPU."""
    x, w, g = (exchange[name].permute(0, 3, 1, 2) for name in ("x", "w", "g"))
    x, w, b = (tensor.requires_grad_() for tensor in (x, w, exchange["b"]))

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            y = torch.nn.functional.conv2d(x, w, b, sizes["stride"], sizes["kernel"] // 2)
            return y.permute(0, 2, 3, 1).cpu()

    def train() -> None:
        y = torch.nn.functional.conv2d(x, w, b, sizes["stride"], sizes["kernel"] // 2)
        torch.autograd.grad(y, (x, w, b), g)

    answer({"train": train, "forward": forward}, exchange["out"].cpu())


def main(sizes_file: str, exchange_file: str, backend: str) -> None:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(0)
    with open(sizes_file) as file:
        sizes = json.load(file)
    device = {"cpu": "cpu", "gpu": "cuda"}[backend]
    torch.set_default_device(device)
    if sizes["family"] == "conv":
        convolution(sizes["model"], load_file(exchange_file, device=device))
        return
    model = {"dit": SiT, "unet": UNet}[sizes["family"]](**sizes["model"])
    exchange = load_file(exchange_file, device=device)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(exchange[name].reshape(parameter.shape))
    x1, t, y = exchange["x"], exchange["t"], exchange["y"].long()
    if sizes["family"] == "unet":
        # The faster order for convolutions on a CPU.
        model = model.to(memory_format=torch.channels_last)
        x1 = x1.to(memory_format=torch.channels_last)

    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, weight_decay=0.0, fused=True
    )
    parameters = list(model.parameters())
    ema = [parameter.detach().clone() for parameter in parameters]
    null_class = torch.tensor(sizes["model"]["n_classes"])

    def train() -> None:
        x0, t = torch.randn_like(x1), torch.rand(len(x1))
        at = t[:, None, None, None]
        labels = torch.where(torch.rand(len(y)) < CLASS_DROPOUT, null_class, y)
        out = model(at * x1 + (1 - at) * x0, t, labels)
        loss = (out - (x1 - x0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(ema, parameters, 1 - EMA_DECAY)
        loss.item()

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            return model(x1, t, y).cpu()

    answer({"train": train, "forward": forward}, exchange["out"].cpu())


if __name__ == "__main__":
    main(*sys.argv[1:])
