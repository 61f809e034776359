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

LEARNING_RATE = 1e-4
EMA_DECAY = 0.9999
CLASS_DROPOUT = 0.1


def say(**answer) -> None:
    print(json.dumps(answer), flush=True)


def peak_mib() -> float:
    with open("/proc/self/status") as status:
        peak = next(line for line in status if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 1024


def main(sizes_file: str, exchange_file: str, backend: str) -> None:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(0)
    with open(sizes_file) as file:
        sizes = json.load(file)
    device = {"cpu": "cpu", "gpu": "cuda"}[backend]
    torch.set_default_device(device)
    model = SiT(**sizes["model"])
    exchange = load_file(exchange_file, device=device)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(exchange[name].reshape(parameter.shape))
    x1, t, y = exchange["x"], exchange["t"], exchange["y"].long()

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

    want = exchange["out"].cpu()
    difference = (forward() - want).abs().max() / want.square().mean().sqrt()
    where = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    say(version=f"PyTorch {torch.__version__} on {where}", difference=difference.item())
    for line in sys.stdin:
        work = {"train": train, "forward": forward}[line.strip()]
        start = time.perf_counter()
        work()
        say(ms=(time.perf_counter() - start) * 1e3, peak_mib=peak_mib())


main(*sys.argv[1:])
