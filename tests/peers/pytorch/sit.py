"""SiT in PyTorch eager, the peer that `cargo xtask bench --peers pytorch` measures the CPU backend against.

Written from the equations of SiT (arXiv 2401.08740) and of adaLN-Zero (DiT, arXiv 2212.09748, section 3.2), in the way
a PyTorch user would write it: nn.Linear, nn.LayerNorm, scaled_dot_product_attention. Parameter names and shapes are the
official ones, so weights come from a safetensors file of the engine.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F


def positions(dim: int, grid: int) -> torch.Tensor:
    """Fixed sin-cos table [grid^2, dim]: first half the column, second half the row, each [sin | cos]."""
    omega = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    angles = torch.arange(grid, dtype=torch.float64)[:, None] * omega
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)
    row, col = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    return torch.cat([axis[col.flatten()], axis[row.flatten()]], dim=1).float()


def modulate(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return x * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)


class TimeEmbedder(nn.Module):
    """Sinusoids of t (cosines first, max period 10000), then a two-layer perceptron."""

    def __init__(self, dim: int, n_freqs: int = 128):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2 * n_freqs, dim), nn.SiLU(), nn.Linear(dim, dim))
        freqs = torch.exp(-math.log(10000.0) * torch.arange(n_freqs) / n_freqs)
        self.register_buffer("freqs", freqs, persistent=False)

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        angles = t[:, None] * self.freqs
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=1))


class LabelEmbedder(nn.Module):
    """A table with one row per class and one for "no class"."""

    def __init__(self, n_classes: int, dim: int):
        super().__init__()
        self.embedding_table = nn.Embedding(n_classes + 1, dim)

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        return self.embedding_table(y)


class PatchEmbedder(nn.Module):
    """A convolution whose kernel and stride are the patch size."""

    def __init__(self, channels: int, dim: int, patch: int):
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, kernel_size=patch, stride=patch)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    def __init__(self, dim: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.n_heads, dim // self.n_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).reshape(batch, tokens, dim))


class Mlp(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, dim: int, n_heads: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.attn = Attention(dim, n_heads)
        self.mlp = Mlp(dim)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))

    def forward(self, x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        chunks = self.adaLN_modulation(c).chunk(6, dim=1)
        shift_msa, scale_msa, gate_msa, shift_mlp, scale_mlp, gate_mlp = chunks
        x = x + gate_msa.unsqueeze(1) * self.attn(modulate(self.norm(x), shift_msa, scale_msa))
        return x + gate_mlp.unsqueeze(1) * self.mlp(modulate(self.norm(x), shift_mlp, scale_mlp))


class FinalLayer(nn.Module):
    def __init__(self, dim: int, token_len: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.linear = nn.Linear(dim, token_len)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 2 * dim))

    def forward(self, x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        shift, scale = self.adaLN_modulation(c).chunk(2, dim=1)
        return self.linear(modulate(self.norm(x), shift, scale))


class SiT(nn.Module):
    """x [B, C, I, I], t [B] in [0, 1], y [B] -> model output [B, C, I, I]; the arguments are the engine's sizes."""

    def __init__(
        self, input_size, channels, patch, dim, depth, n_heads, n_classes, learn_sigma
    ):
        super().__init__()
        assert not learn_sigma, "this twin has no sigma half"
        self.patch, self.grid, self.channels = patch, input_size // patch, channels
        self.x_embedder = PatchEmbedder(channels, dim, patch)
        self.t_embedder = TimeEmbedder(dim)
        self.y_embedder = LabelEmbedder(n_classes, dim)
        self.register_buffer("pos_embed", positions(dim, self.grid)[None])
        self.blocks = nn.ModuleList(Block(dim, n_heads) for _ in range(depth))
        self.final_layer = FinalLayer(dim, patch * patch * channels)

    def forward(self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        h = self.x_embedder(x) + self.pos_embed
        c = self.t_embedder(t) + self.y_embedder(y)
        for block in self.blocks:
            h = block(h, c)
        h = self.final_layer(h, c)
        grid, patch, channels = self.grid, self.patch, self.channels
        h = h.reshape(-1, grid, grid, patch, patch, channels)
        return h.permute(0, 5, 1, 3, 2, 4).reshape(-1, channels, grid * patch, grid * patch)
