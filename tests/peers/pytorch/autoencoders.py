"""The diffusers side of `cargo xtask bench --peers diffusers`: `autoencoders.py SIZES.json FOLDER`.

Makes an autoencoder with random weights and writes it as diffusers does, with an input and both outputs for the other side to check.
Then it encodes or decodes for each line of standard input and answers with the time: the other side works while this one waits.
"""

import json
import os
import sys
import time

import diffusers
import torch
from safetensors.torch import save_file

from peer import peak_mib, say


def main(sizes_file: str, folder: str) -> None:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(0)
    with open(sizes_file) as file:
        sizes = json.load(file)
    is_tiny = sizes["family"] == "tiny"
    family = diffusers.AutoencoderTiny if is_tiny else diffusers.AutoencoderKL
    model = family(**sizes["model"]).eval()
    model.save_pretrained(folder)
    # The faster order for convolutions on a CPU.
    model = model.to(memory_format=torch.channels_last)
    side, batch = sizes["image_size"], sizes["batch"]
    x = (torch.rand(batch, 3, side, side) * 2 - 1).contiguous(memory_format=torch.channels_last)

    def encode() -> torch.Tensor:
        with torch.inference_mode():
            return model.encode(x).latents if is_tiny else model.encode(x).latent_dist.mean

    z = encode().clone()

    def decode() -> torch.Tensor:
        with torch.inference_mode():
            return model.decode(z).sample

    tensors = {"x": x, "z": z, "y": decode()}
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, os.path.join(folder, "exchange.safetensors"))
    say(version=f"diffusers {diffusers.__version__}, PyTorch {torch.__version__}")
    works = {"encode": encode, "decode": decode}
    for line in sys.stdin:
        work = works[line.strip()]
        start = time.perf_counter()
        work()
        say(ms=(time.perf_counter() - start) * 1e3, peak_mib=peak_mib())


main(*sys.argv[1:])
