#!/usr/bin/env python3
"""Times whole RLRR training steps of a timm model on a GPU: the operators of librespeft_cuda.so beside plain PyTorch's, interleaved.

Both run the same modules with bfloat16 autocast; only the rescaled linear layers differ. Prints a Markdown table: the least
milliseconds a step takes in eager mode, where the host may be what is slow, and replayed from a CUDA graph that holds the whole
step, optimizer included; and the memory that a step takes at most beyond the model's.
"""

import argparse
import pathlib
import sys

import timm
import torch
from timm_rlrr import RescaledLinear, adapt

ROOT = pathlib.Path(__file__).resolve().parents[1]
MODELS = {"ViT-B/16": "vit_base_patch16_224", "ViT-L/16": "vit_large_patch16_224"}


class FusedLinear(RescaledLinear):
    """The same layer through respeft's operator."""

    def forward(self, x):
        adapter = self.adapter
        scales = adapter["scale_in"], adapter["scale_out"]
        return torch.ops.respeft.rescaled_linear(x, self.weight, self.bias + adapter["shift"], *scales, True)


class Step:
    """A training step of the adapted model; every instance starts from the same parameters."""

    def __init__(self, name, batch, fused):
        torch.manual_seed(0)
        self.model = timm.create_model(name, pretrained=False, num_classes=100)
        trained = adapt(self.model)
        for module in self.model.modules():
            if fused and isinstance(module, RescaledLinear):
                module.__class__ = FusedLinear
        self.model.cuda().train()
        self.optimizer = torch.optim.AdamW(trained.values(), lr=1e-3, weight_decay=1e-4, fused=True, capturable=True)
        self.images = torch.randn(batch, 3, 224, 224, device="cuda")
        self.labels = torch.randint(100, (batch,), device="cuda")
        self.eager, self.replayed = [], []

    def __call__(self):
        self.optimizer.zero_grad()
        with torch.autocast("cuda", torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(self.model(self.images), self.labels)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def peak(self):
        """Bytes at most, beyond what the model holds between steps."""
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        self()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before

    def capture(self):
        """A graph of a step, after a few on the stream that captures."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self()

    def measure(self, steps):
        for run, times in ((self, self.eager), (self.graph.replay, self.replayed)):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(steps):
                run()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) / steps)


def race(label, batch, rounds, steps):
    """A row of the table."""
    ours, plain = (Step(MODELS[label], batch, fused) for fused in (True, False))
    losses = [[step().item() for _ in range(4)] for step in (ours, plain)]  # the warm-up
    for mine, theirs in zip(*losses):
        if abs(mine - theirs) > 0.05 * max(1.0, abs(theirs)):  # they are bfloat16, and so is every layer
            sys.exit(f"gpu_steps: {label}, batch {batch}: the losses part: {losses}")
    peaks = [step.peak() for step in (ours, plain)]
    for step in (ours, plain):
        step.capture()
    for _ in range(rounds):
        for step in (ours, plain):
            step.measure(steps)
    cells = [label, str(batch)]
    for a, b in ((min(ours.eager), min(plain.eager)), (min(ours.replayed), min(plain.replayed))):
        cells += [f"{a:.2f}", f"{b:.2f}", f"{b / a:.2f}"]
    return " | ".join(["", *cells, *(f"{peak / 1e6:.0f}" for peak in peaks), ""]).strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=pathlib.Path, default=ROOT / "build" / "src" / "librespeft_cuda.so")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("gpu_steps: there is no GPU")
    torch.ops.load_library(str(arguments.library.resolve()))
    print(torch.cuda.get_device_name(), "PyTorch", torch.__version__)
    print("| model | batch | eager: ours | PyTorch | faster × | graph: ours | PyTorch | faster × | peak MB: ours | PyTorch |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for label, batch in (("ViT-B/16", 1), ("ViT-B/16", 8), ("ViT-B/16", 64), ("ViT-L/16", 64)):
        print(race(label, batch, arguments.rounds, arguments.steps), flush=True)


if __name__ == "__main__":
    main()
