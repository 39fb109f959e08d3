"""RLRR in plain Python on timm's Vision Transformers: what scripts/bench races and tests/interop compares with.

Everything is composed from PyTorch's own operations and differentiated by autograd, as one would write it from the paper:
a linear layer computes x (W * (1 + scale_out scale_in^T))^T + b + shift, a norm and the patch projection are followed by
an elementwise scale and shift. Parameter names are those of respeft's adapter files.
"""

import math

import torch
from torch import nn


class RescaledLinear(nn.Module):
    """A frozen linear layer with RLRR; `groups` row blocks of the weight have an input scale each (q, k and v: 3)."""

    def __init__(self, base, groups=1):
        super().__init__()
        self.weight, self.bias, self.groups = base.weight, base.bias, groups
        features_out, features_in = base.weight.shape
        self.adapter = nn.ParameterDict(
            {
                "scale_in": torch.zeros(groups, features_in) if groups > 1 else torch.zeros(features_in),
                "scale_out": torch.zeros(features_out),
                "shift": torch.zeros(features_out),
            }
        )
        bound = math.sqrt(6 / features_in)
        nn.init.uniform_(self.adapter["scale_in"], -bound, bound)
        nn.init.uniform_(self.adapter["scale_out"], -math.sqrt(6), math.sqrt(6))

    def rescaling(self):
        scale_in, scale_out = self.adapter["scale_in"], self.adapter["scale_out"]
        if self.groups == 1:
            return 1 + torch.outer(scale_out, scale_in)
        return 1 + (scale_out.view(self.groups, -1, 1) * scale_in.unsqueeze(1)).flatten(0, 1)

    def forward(self, x):
        return nn.functional.linear(x, self.weight * self.rescaling(), self.bias + self.adapter["shift"])


class ScaledShifted(nn.Module):
    """A frozen layer whose output's features are scaled and shifted (SSF)."""

    def __init__(self, base, features):
        super().__init__()
        self.base = base
        self.adapter = nn.ParameterDict({"scale": torch.empty(features), "shift": torch.empty(features)})
        nn.init.normal_(self.adapter["scale"], 1, 0.02)
        nn.init.normal_(self.adapter["shift"], 0, 0.02)

    def forward(self, x):
        return self.base(x) * self.adapter["scale"] + self.adapter["shift"]


class ScaledShiftedPatches(nn.Module):
    """The same on the tokens of the patch projection `[B, D, H, W]`."""

    def __init__(self, base):
        super().__init__()
        self.base = base
        self.adapter = ScaledShifted(nn.Identity(), base.out_channels).adapter

    def forward(self, x):
        return self.base(x) * self.adapter["scale"].view(-1, 1, 1) + self.adapter["shift"].view(-1, 1, 1)


def adapt(model):
    """Freezes timm's ViT `model`, puts RLRR (kaiming initialization, every site) into it, and returns what is trained by
    name, head included."""
    model.requires_grad_(False)
    for block in model.blocks:
        block.attn.qkv = RescaledLinear(block.attn.qkv, groups=3)
        block.attn.proj = RescaledLinear(block.attn.proj)
        block.mlp.fc1 = RescaledLinear(block.mlp.fc1)
        block.mlp.fc2 = RescaledLinear(block.mlp.fc2)
        block.norm1 = ScaledShifted(block.norm1, model.embed_dim)
        block.norm2 = ScaledShifted(block.norm2, model.embed_dim)
    model.patch_embed.proj = ScaledShiftedPatches(model.patch_embed.proj)
    for name in ("norm", "fc_norm"):
        if isinstance(getattr(model, name), nn.LayerNorm):
            setattr(model, name, ScaledShifted(getattr(model, name), model.embed_dim))
    model.head.requires_grad_(True)
    return {name: p for name, p in model.named_parameters() if p.requires_grad}
