#!/usr/bin/env python3
"""Times whole RLRR training steps of a timm model in plain Python and prints what `respeft bench --json` prints."""

import argparse
import json
import resource
import time

import timm
import torch
from timm_rlrr import adapt


class KeptBytes:
    """Counts the bytes that autograd keeps for the backward pass: each storage once, parameters left out."""

    def __init__(self, model):
        self.parameters = {t.untyped_storage().data_ptr() for t in model.parameters()}
        self.storages = {}

    def keep(self, tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.parameters:
            self.storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    def measure(self, forward):
        """The bytes kept at the end of `forward()`, whose result must be alive until it has been counted."""
        with torch.autograd.graph.saved_tensors_hooks(self.keep, lambda tensor: tensor):
            loss = forward()
        del loss
        return sum(self.storages.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--num-classes", type=int, default=10)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    sized = {} if arguments.image_size is None else {"img_size": arguments.image_size}
    model = timm.create_model(arguments.model, pretrained=False, num_classes=arguments.num_classes, **sized).train()
    trained = adapt(model)
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-3, weight_decay=1e-4)
    size = model.patch_embed.img_size[0]
    images = torch.randn(arguments.batch_size, 3, size, size)
    labels = torch.randint(arguments.num_classes, (arguments.batch_size,))

    def loss():
        return torch.nn.functional.cross_entropy(model(images), labels)

    def step():
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    step()  # warm-up
    seconds = []
    for _ in range(arguments.steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    result = {
        "step_seconds": seconds,
        "saved_bytes": KeptBytes(model).measure(loss),
        "peak_rss": peak,
        "trained": sum(t.numel() for t in trained.values()),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
