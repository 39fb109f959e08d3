#!/usr/bin/env python3
"""What every CUDA kernel takes of a multiprocessor, for every architecture it is compiled for, against the limits in
cuda/limits.toml. No GPU is needed.

Registers and static shared memory are read from the machine code, threads and dynamic shared memory from launches recorded by
build/bin/respeft_cuda_launches, which calls every launcher. Occupancy is what results: the blocks that are resident at once, and their warps as a part of the most possible.
A kernel without limits, limits without a kernel, a kernel that nothing launches, and any local memory are faults.
"""

import argparse
import pathlib
import sys

from cuda_binary import MULTIPROCESSORS, ROOT, blocks_per_multiprocessor, launches, matched, read_table, resources

LIMITS = ROOT / "cuda" / "limits.toml"


def measure(library):
    """A dict for every kernel, architecture and launch; and what does not fit together."""
    shapes, rows = launches(library.parents[1] / "bin" / "respeft_cuda_launches"), []
    for (kernel, arch), usage in sorted(resources(library).items(), key=lambda item: (item[0][0], int(item[0][1].split("_")[1]))):
        for launch in sorted(shapes.get(kernel, ()), key=lambda shape: (shape.threads, shape.dynamic_shared)) or [None]:
            row = {"kernel": kernel, "arch": arch, "launch": launch, "usage": usage, "blocks": 0, "occupancy": 0.0}
            if launch:
                row["shared"] = usage.static_shared + launch.dynamic_shared
                row["blocks"] = blocks_per_multiprocessor(arch, usage.registers, row["shared"], launch.threads)
                row["occupancy"] = row["blocks"] * -(-launch.threads // 32) / MULTIPROCESSORS[arch].warps
            rows.append(row)
    unknown = sorted(shapes.keys() - {row["kernel"] for row in rows})
    return rows, [f"{kernel} is launched and is not in {library.name}" for kernel in unknown]


def faults_of(row, limits):
    """What a row exceeds."""
    usage, launch = row["usage"], row["launch"]
    if launch is None:
        return [f"{row['kernel']}: nothing launches it"]
    exceeded = [
        ("registers", usage.registers, limits["registers"]),
        ("bytes of shared memory", row["shared"], limits["shared_bytes"]),
        ("bytes of stack", usage.stack, 0),
        ("bytes of local memory", usage.local, 0),
    ]
    where = f"{row['kernel']}, {row['arch']}, {launch.threads} threads"
    faults = [f"{where}: {value:,} {what}, and the limit is {limit:,}" for what, value, limit in exceeded if value > limit]
    if row["blocks"] < limits["blocks"]:
        faults.append(f"{where}: {row['blocks']} blocks to a multiprocessor, and at least {limits['blocks']} are wanted")
    return faults


def table(rows):
    header = ["kernel", "arch", "registers", "static shared", "dynamic shared", "threads", "blocks", "warps"]
    cells = [header]
    for row in rows:
        usage, launch = row["usage"], row["launch"]
        shape = [f"{launch.dynamic_shared:,}", str(launch.threads), str(row["blocks"]), f"{row['occupancy']:.0%}"] if launch else ["?"] * 4
        cells.append([row["kernel"], row["arch"], str(usage.registers), f"{usage.static_shared:,}", *shape])
    widths = [max(len(line[i]) for line in cells) for i in range(len(header))]
    return "\n".join("  ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))) for line in cells)


def suggestion(kernel, rows):
    """The entry that a kernel just meets."""
    launched = [row for row in rows if row["kernel"] == kernel and row["launch"]]
    return (
        f'[[kernel]]\nname = "{kernel}"\nregisters = {max((row["usage"].registers for row in launched), default=0)}\n'
        f"shared_bytes = {max((row['shared'] for row in launched), default=0)}\nblocks = {min((row['blocks'] for row in launched), default=0)}"
    )


def check(library, limits=LIMITS):
    """The rows, the faults, and the entries that are missing."""
    rows, faults = measure(library)
    if not rows:
        return rows, [f"{library} holds no kernel"], []
    kernels = {row["kernel"] for row in rows}
    entries, wrong = matched(read_table(limits) if limits.exists() else [], kernels, limits.name)
    faults += wrong
    for row in rows:
        if row["kernel"] in entries:
            faults += faults_of(row, entries[row["kernel"]])
    return rows, list(dict.fromkeys(faults)), [suggestion(kernel, rows) for kernel in sorted(kernels - entries.keys())]


def main():
    parser = argparse.ArgumentParser(prog="scripts/kernel_resources", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=pathlib.Path, default=ROOT / "build" / "src" / "librespeft_cuda.so", help="in a build folder")
    parser.add_argument("--limits", type=pathlib.Path, default=LIMITS)
    arguments = parser.parse_args()

    if not arguments.library.exists():
        sys.exit(f"scripts/kernel_resources: there is no {arguments.library}: this build has no CUDA kernels (see scripts/build --help)")
    rows, faults, missing = check(arguments.library, arguments.limits)
    print(table(rows))
    if missing:
        print("\nWhat the entries that are missing would be:\n\n" + "\n\n".join(missing), file=sys.stderr)
    for fault in faults:
        print(f"kernel_resources: {fault}", file=sys.stderr)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
