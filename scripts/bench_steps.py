#!/usr/bin/env python3
"""Whole RLRR training steps: respeft beside the same step in plain Python (timm, autograd), interleaved, equal threads.

Each round runs both programs one after the other, in processes of their own, so that what else the machine does falls on
both alike. Every process makes one step to warm up and then times some. Prints a table and writes JSON.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
CASES = {  # label: model, image size, batch size, steps a round
    "DINOv2-S/14, 56 px": ("vit_small_patch14_dinov2", 56, 32, 10),
    "DINOv2-S/14, 224 px": ("vit_small_patch14_dinov2", 224, 8, 4),
    "ViT-B/16, 224 px": ("vit_base_patch16_224", 224, 8, 3),
}
# Keeps freed memory in the process instead of returning it to the kernel, which glibc does with every block over 32 MB.
KEEP_MEMORY = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184"


def run(command, threads, extra):
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), **extra}
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"bench: {' '.join(map(str, command))} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def race(model, size, batch, steps, arguments):
    """Both programs' results of every round."""
    step = ["--model", model, "--image-size", size, "--batch-size", batch, "--threads", arguments.threads, "--steps", steps]
    ours = [arguments.program, "bench", "--method", "rlrr", "--num-classes", 10, "--json", *step]
    theirs = [sys.executable, ROOT / "scripts" / "timm_step.py", *step]
    python_only = {"GLIBC_TUNABLES": KEEP_MEMORY} if arguments.keep_memory else {}
    rounds = []
    for number in range(arguments.rounds):
        rounds.append((run(ours, arguments.threads, {}), run(theirs, arguments.threads, python_only)))
        seconds = [min(result["step_seconds"]) for result in rounds[-1]]
        print(f"   round {number + 1} of {arguments.rounds}: respeft {seconds[0]:.2f} s, Python {seconds[1]:.2f} s", file=sys.stderr)
    return rounds


def summary(label, model, size, batch, rounds):
    def pooled(which):
        return [s for result in rounds for s in result[which]["step_seconds"]]

    ours, theirs = pooled(0), pooled(1)
    last_ours, last_theirs = rounds[-1]
    if last_ours["trained"] != last_theirs["trained"]:
        sys.exit(f"bench: {model}: respeft trains {last_ours['trained']} parameters and Python {last_theirs['trained']}")
    return {
        "case": label,
        "model": model,
        "image_size": size,
        "batch_size": batch,
        "trained": last_ours["trained"],
        "respeft_seconds": ours,
        "python_seconds": theirs,
        "speedup_min": min(theirs) / min(ours),
        "speedup_median": statistics.median(theirs) / statistics.median(ours),
        "respeft_saved_bytes": last_ours["saved_bytes"],
        "python_saved_bytes": last_theirs["saved_bytes"],
        "saved_ratio": last_ours["saved_bytes"] / last_theirs["saved_bytes"],
        "respeft_peak_rss": max(r[0]["peak_rss"] for r in rounds),
        "python_peak_rss": max(r[1]["peak_rss"] for r in rounds),
    }


def table(results):
    """The results as a Markdown table; times are the fastest step's, with the median's ratio beside."""
    header = ["case", "batch", "respeft s", "Python s", "faster ×, min (median)", "kept MB", "Python kept", "ratio", "peak MB", "Python peak"]
    rows = [
        [
            r["case"],
            str(r["batch_size"]),
            f"{min(r['respeft_seconds']):.3f}",
            f"{min(r['python_seconds']):.3f}",
            f"{r['speedup_min']:.2f} ({r['speedup_median']:.2f})",
            f"{r['respeft_saved_bytes'] / 1e6:.0f}",
            f"{r['python_saved_bytes'] / 1e6:.0f}",
            f"{r['saved_ratio']:.2f}",
            f"{r['respeft_peak_rss'] / 1e6:.0f}",
            f"{r['python_peak_rss'] / 1e6:.0f}",
        ]
        for r in results
    ]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells):
        first, *others = (c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths)))
        return f"| {' | '.join([first, *others])} |"

    rule = "| " + " | ".join("-" * w if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(widths)) + " |"
    return "\n".join([line(header), rule, *map(line, rows)])


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.machine()


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--case", action="append", choices=CASES, help="only this one; may be repeated")
    parser.add_argument("--keep-memory", action="store_true", help="also stop glibc from returning Python's freed memory to the kernel")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build" / "bench.json")
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "build" / "bin" / "respeft")
    arguments = parser.parse_args()

    results = []
    for label in arguments.case or CASES:
        model, size, batch, steps = CASES[label]
        print(f"-- {label}, batch {batch}, {arguments.threads} threads", file=sys.stderr)
        results.append(summary(label, model, size, batch, race(model, size, batch, steps, arguments)))
    document = {
        "processor": processor(),
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "python_keeps_memory": arguments.keep_memory,
        "results": results,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(document, indent=2) + "\n")
    print(table(results))
    print(f"{document['processor']}, {arguments.threads} threads; written to {arguments.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
