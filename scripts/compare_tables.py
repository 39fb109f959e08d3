#!/usr/bin/env python3
"""The Markdown tables of scripts/compare: methods, ways of merging, and the training loss at equal steps beside LoRA's."""

import argparse
import json
import pathlib
import statistics

SHORTCUTS = ("reslora-is", "reslora-ms")
MERGES = ("drop", "input", "weight", "scalar", "regression")


def spread(values, form):
    """`mean ± standard deviation` over the seeds."""
    text = form.format(statistics.mean(values))
    return text if len(values) < 2 else f"{text} ± {form.format(statistics.stdev(values)).rstrip('%')}"


def markdown(header, rows):
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
    for row in [header, rule, *rows]:
        print("| " + " | ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))) + " |")
    print()


def summaries(arguments, method):
    return [json.loads((arguments.runs / f"{method}-{seed}" / "summary.json").read_text()) for seed in arguments.seeds]


def losses(arguments, method):
    """The training loss of every epoch, by seed."""
    runs = [(arguments.runs / f"{method}-{seed}" / "metrics.jsonl").read_text().splitlines() for seed in arguments.seeds]
    return [[json.loads(line)["train_loss"] for line in lines] for lines in runs]


def steps(arguments, method):
    """The fastest step in seconds, and the bytes that it keeps for the backward."""
    rounds = [json.loads(path.read_text()) for path in sorted(arguments.runs.glob(f"steps-{method}-*.json"))]
    return min(second for one in rounds for second in one["step_seconds"]), rounds[0]["saved_bytes"]


def methods(arguments):
    rows = []
    for method in arguments.methods:
        runs = summaries(arguments, method)
        seconds, kept = steps(arguments, method)
        rows.append(
            [
                f"`{method}`",
                f"{runs[0]['trained_parameters']:,}",
                spread([100 * run["test_accuracy"] for run in runs], "{:.1f}%"),
                spread([run["train_loss"] for run in runs], "{:.3f}"),
                f"{seconds:.2f} s",
                f"{kept / 1e6:.0f} MB",
            ]
        )
    markdown(["method", "trained parameters, with the head", "test accuracy", "training loss", "step", "kept"], rows)


def merges(arguments):
    """A row for each merge; three columns for each method with shortcuts that do not fold exactly."""
    header, rows = ["merge"], [[f"`{merge}`"] for merge in MERGES] + [["not merged"]]
    for method in SHORTCUTS:
        if method not in arguments.methods:
            continue
        reports = [json.loads((arguments.runs / f"{method}-{seed}" / "merges.json").read_text()) for seed in arguments.seeds]
        header += [f"{method}: error", "same predictions", "accuracy"]
        before = [100 * report["comparison"]["accuracy_before"] for report in reports]
        rows[-1] += ["–", "–", spread(before, "{:.1f}%")]
        for row, merge in zip(rows, MERGES):
            trials = [report["merges"][merge] for report in reports]
            row += [
                spread([trial["error"] for trial in trials], "{:.3f}"),
                spread([100 * trial["comparison"]["agreement"] for trial in trials], "{:.1f}%"),
                spread([100 * trial["comparison"]["accuracy_after"] for trial in trials], "{:.1f}%"),
            ]
        error = {name: [report["merges"][name]["error"] for report in reports] for name in ("input", "weight", "regression")}
        ratios = [r / min(i, w) for i, w, r in zip(error["input"], error["weight"], error["regression"])]
        lost = [a - 100 * r["merges"]["regression"]["comparison"]["accuracy_after"] for a, r in zip(before, reports)]
        print(
            f"{method}: regression's error is {', '.join(f'{x:.2f}' for x in ratios)} of the better of input and weight; "
            f"it loses {', '.join(f'{x:.2f}' for x in lost)} points of accuracy (by seed)\n"
        )
    if len(header) > 1:
        markdown(header, rows)


def convergence(arguments):
    if "lora" not in arguments.methods:
        return
    lora = losses(arguments, "lora")
    epochs = range(len(lora[0]))
    rows = []
    for method in arguments.methods:
        if method != "lora" and not method.startswith("reslora"):
            continue
        theirs = losses(arguments, method)
        row = [f"`{method}`"]
        for epoch in epochs:
            mean = statistics.mean(run[epoch] for run in theirs)
            lower = sum(a[epoch] < b[epoch] for a, b in zip(theirs, lora))
            row.append(f"{mean:.3f}" if method == "lora" else f"{mean:.3f} ({lower}/{len(lora)})")
        rows.append(row)
    print("Mean training loss of each epoch (in how many seeds it is below LoRA's):\n")
    markdown(["epoch", *(str(epoch + 1) for epoch in epochs)], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, required=True)
    parser.add_argument("--methods", nargs="+", required=True)
    arguments = parser.parse_args()
    arguments.seeds = range(1, arguments.seeds + 1)
    methods(arguments)
    merges(arguments)
    convergence(arguments)


if __name__ == "__main__":
    main()
