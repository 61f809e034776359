"""The torchdiffeq side of `cargo xtask bench --peers torchdiffeq`: `solvers.py SIZES.json EXCHANGE.safetensors`.

Loads the weights, noise and labels that the engine wrote, and samples the images by dopri5 for each line of standard
input, which names the method, a batch size and how many of them: images of a batch share their steps, as torchdiffeq
has it.
"""

import json
import os
import sys
import time

import torch
import torchdiffeq
from safetensors.torch import load_file

from sit import SiT


def say(**answer) -> None:
    print(json.dumps(answer), flush=True)


def main(sizes_file: str, exchange_file: str) -> None:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    with open(sizes_file) as file:
        sizes = json.load(file)
    model = SiT(**sizes["model"])
    exchange = load_file(exchange_file)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(exchange[name].reshape(parameter.shape))
    x, y = exchange["x"], exchange["y"].long()

    def sample(method: str, batch: int, count: int) -> tuple[float, float]:
        nfe, ends = 0, []
        with torch.inference_mode():
            for part, labels in zip(x[:count].split(batch), y[:count].split(batch)):

                def drift(t, state):
                    nonlocal nfe
                    nfe += len(state)
                    return model(state, t.expand(len(state)), labels)

                times = torch.tensor([0.0, 1.0])
                end = torchdiffeq.odeint(
                    drift, part, times, rtol=sizes["rtol"], atol=sizes["atol"], method=method
                )[-1]
                ends.append(end)
        return nfe / count, torch.cat(ends).abs().mean().item()

    say(version=f"torchdiffeq {torchdiffeq.__version__}, PyTorch {torch.__version__}")
    for line in sys.stdin:
        method, batch, count = line.split()
        start = time.perf_counter()
        nfe, mean = sample(method, int(batch), int(count))
        say(ms=(time.perf_counter() - start) * 1e3, nfe=nfe, mean=mean, peak_mib=0.0)


main(*sys.argv[1:])
