"""A U-Net in PyTorch eager, the peer that `cargo xtask bench --peers pytorch` measures the CPU backend against.

Written from the description in Dhariwal and Nichol (arXiv 2105.05233) in the way a PyTorch user would write it: nn.Conv2d,
nn.GroupNorm, scaled_dot_product_attention. Parameter names and shapes are those of guided-diffusion, so weights come from a
safetensors file of the engine.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F


class ResBlock(nn.Module):
    """skip(x) + conv(silu(norm(conv(silu(norm(x)))) (1 + scale) + shift)), scale and shift from the embedding."""

    def __init__(self, channels: int, out: int, embed: int, groups: int):
        super().__init__()
        self.in_layers = nn.Sequential(
            nn.GroupNorm(groups, channels), nn.SiLU(), nn.Conv2d(channels, out, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embed, 2 * out))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(groups, out), nn.SiLU(), nn.Identity(), nn.Conv2d(out, out, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if channels == out else nn.Conv2d(channels, out, 1)

    def forward(self, x: torch.Tensor, emb: torch.Tensor) -> torch.Tensor:
        h = self.in_layers(x)
        scale, shift = self.emb_layers(emb)[:, :, None, None].chunk(2, dim=1)
        h = self.out_layers[0](h) * (1 + scale) + shift
        return self.skip_connection(x) + self.out_layers[1:](h)


class Attention(nn.Module):
    """x + proj(attention(qkv(norm(x)))) over the pixels; rows of qkv are in the order (head, kind)."""

    def __init__(self, channels: int, heads: int, groups: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        b, c, height, width = x.shape
        qkv = self.qkv(self.norm(x).reshape(b, c, height * width))
        q, k, v = qkv.reshape(b, self.heads, 3, c // self.heads, -1).transpose(-1, -2).unbind(2)
        h = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(b, c, -1)
        return x + self.proj_out(h).reshape(x.shape)


class Halve(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return self.op(x)


class Enlarge(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class Stem(nn.Conv2d):
    def forward(self, x: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return super().forward(x)


class UNet(nn.Module):
    def __init__(
        self, input_size, channels, width, multipliers, blocks, attention, n_heads, groups, n_classes, learn_sigma, time_scale=1000
    ):
        super().__init__()
        embed, self.half = 4 * width, width // 2
        widths = [width * factor for factor in multipliers]

        def layers(come: int, go: int, level: int) -> list[nn.Module]:
            found = [ResBlock(come, go, embed, groups)]
            if input_size >> level in attention:
                found.append(Attention(go, n_heads, groups))
            return found

        self.time_embed = nn.Sequential(nn.Linear(width, embed), nn.SiLU(), nn.Linear(embed, embed))
        self.label_emb = nn.Embedding(n_classes + 1, embed)
        inputs, outputs, now, skips = [[Stem(channels, widths[0], 3, padding=1)]], [], widths[0], [widths[0]]
        for level, go in enumerate(widths):
            for _ in range(blocks):
                inputs.append(layers(now, go, level))
                now = go
                skips.append(now)
            if level + 1 < len(widths):
                inputs.append([Halve(now)])
                skips.append(now)
        self.middle_block = nn.ModuleList(
            [ResBlock(now, now, embed, groups), Attention(now, n_heads, groups), ResBlock(now, now, embed, groups)]
        )
        for level, go in reversed(list(enumerate(widths))):
            for i in range(blocks + 1):
                found = layers(now + skips.pop(), go, level)
                now = go
                if level > 0 and i == blocks:
                    found.append(Enlarge(now))
                outputs.append(found)
        self.input_blocks = nn.ModuleList(nn.ModuleList(block) for block in inputs)
        self.output_blocks = nn.ModuleList(nn.ModuleList(block) for block in outputs)
        last = channels * (2 if learn_sigma else 1)
        self.out = nn.Sequential(nn.GroupNorm(groups, now), nn.SiLU(), nn.Conv2d(now, last, 3, padding=1))
        freqs = torch.exp(-math.log(10000.0) * torch.arange(self.half) / self.half)
        self.register_buffer("freqs", time_scale * freqs, persistent=False)

    def forward(self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        angles = t[:, None] * self.freqs
        emb = self.time_embed(torch.cat([angles.cos(), angles.sin()], dim=1)) + self.label_emb(y)
        skips = []
        for block in self.input_blocks:
            for layer in block:
                x = layer(x, emb)
            skips.append(x)
        for layer in self.middle_block:
            x = layer(x, emb)
        for block in self.output_blocks:
            x = torch.cat([x, skips.pop()], dim=1)
            for layer in block:
                x = layer(x, emb)
        return self.out(x)
