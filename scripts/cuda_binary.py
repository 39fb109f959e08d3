"""What a CUDA library or object holds, read without a GPU: every kernel's resources and machine code for every architecture, the
loops in it, and how many blocks fit on a multiprocessor. Uses cuobjdump and nvdisasm, which scripts/setup installs with nvcc."""

import collections
import dataclasses
import json
import math
import os
import pathlib
import re
import shutil
import subprocess
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]


def tool(name):
    """The path of a program of the CUDA toolkit; the one in .venv comes first."""
    for folder in sorted(ROOT.glob(".venv/lib/python3*/site-packages/nvidia/cu*/bin")):
        if (folder / name).exists():
            return str(folder / name)
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"there is no {name}: run scripts/setup")
    return found


def output(name, *arguments):
    path = tool(name)
    environment = {**os.environ, "PATH": f"{pathlib.Path(path).parent}:{os.environ['PATH']}"}  # cuobjdump runs nvdisasm
    done = subprocess.run([path, *map(str, arguments)], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{name} {' '.join(map(str, arguments))}: {done.stderr.strip()}")
    return done.stdout


def demangled(names):
    done = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True)
    return dict(zip(names, done.stdout.splitlines()))


def short_name(name):
    """A demangled kernel as people would write it: without its result, its parameters, our namespace and casts of its template
    arguments."""
    name = re.sub(r"\((?:int|bool|long|unsigned int|unsigned long|(?:\w+::)+\w+)\)(-?\d+)", r"\1", name)
    name = name.replace("respeft::cuda::", "").removeprefix("void ")
    depth = 0
    for i, character in enumerate(name):
        depth += (character == "<") - (character == ">")
        if character == "(" and depth == 0 and not name.startswith("(anonymous namespace)", i):
            return name[:i]
    return name


# --- Resources -------------------------------------------------------------------------------------------------------------------


RESERVED = 1 << 10  # bytes of shared memory that the system takes of every block


@dataclasses.dataclass
class Resources:
    registers: int
    stack: int  # bytes a thread
    static_shared: int  # bytes a block
    local: int  # bytes a thread


def resources(binary):
    """{(kernel, architecture): Resources}; kernels by their short names."""
    found, arch, function = {}, None, None
    for line in output("cuobjdump", "--dump-resource-usage", binary).splitlines():
        if line.startswith("arch = "):
            arch = line.removeprefix("arch = ").strip()
        elif match := re.match(r"\s*Function (\S+):", line):
            function = match[1]
        elif function and (usage := dict(re.findall(r"\b(REG|STACK|SHARED|LOCAL):(\d+)", line))):
            found[function, arch] = Resources(*(int(usage[key]) for key in ("REG", "STACK", "SHARED", "LOCAL")))
            if int(arch.split("_")[1]) >= 90 and found[function, arch].static_shared >= RESERVED:
                found[function, arch].static_shared -= RESERVED  # counted there, although it is not the kernel's
            function = None
    names = demangled(sorted({function for function, _ in found}))
    return {(short_name(names[function]), arch): usage for (function, arch), usage in found.items()}


@dataclasses.dataclass(frozen=True)
class Launch:
    threads: int
    dynamic_shared: int  # bytes a block


def recorded_launches(program):
    """The JSON lines of respeft_cuda_launches, kernels by their short names."""
    done = subprocess.run([str(program)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{program}: {done.stderr.strip()}")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    names = demangled(sorted({line["kernel"] for line in lines}))
    return [{**line, "kernel": short_name(names[line["kernel"]])} for line in lines]


def launches(program):
    """{kernel: {Launch}}: a kernel may be launched in several shapes."""
    found = collections.defaultdict(set)
    for line in recorded_launches(program):
        found[line["kernel"]].add(Launch(math.prod(line["block"]), line["shared_bytes"]))
    return dict(found)


# --- Occupancy -------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Multiprocessor:
    """Limits from the CUDA C++ programming guide, table "Technical specifications per compute capability"."""

    warps: int
    blocks: int
    shared: int  # bytes
    shared_per_block: int  # bytes, with the opt-in
    registers: int = 65536


MULTIPROCESSORS = {
    "sm_80": Multiprocessor(64, 32, 164 << 10, 163 << 10),
    "sm_86": Multiprocessor(48, 16, 100 << 10, 99 << 10),
    "sm_89": Multiprocessor(48, 24, 100 << 10, 99 << 10),
    "sm_90": Multiprocessor(64, 32, 228 << 10, 227 << 10),
    "sm_100": Multiprocessor(64, 32, 228 << 10, 227 << 10),
    "sm_120": Multiprocessor(48, 24, 100 << 10, 99 << 10),
}


def blocks_per_multiprocessor(arch, registers, shared, threads):
    """How many blocks are resident at once; `shared` is all of a block's shared memory in bytes. 0: it cannot be launched."""
    limits = MULTIPROCESSORS[arch]
    if shared > limits.shared_per_block or threads > 1024 or registers > 255:
        return 0
    warps = -(-threads // 32)
    warp_registers = -(-registers * 32 // 256) * 256  # given out 256 at a time, to each of 4 partitions
    by_registers = limits.registers // 4 // warp_registers * 4 // warps
    by_shared = limits.shared // (-(-(shared + RESERVED) // 128) * 128)
    return min(limits.blocks, limits.warps // warps, by_registers, by_shared)


# --- Machine code ----------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Instruction:
    address: int
    guard: str  # "@!P0", or empty
    opcode: str  # "LDGSTS.E.BYPASS.128"
    operands: str

    def is_one_of(self, *patterns):
        """Whether the opcode has all the dotted parts of a pattern, in their order: `LDG.128` is `LDG.E.128.CONSTANT`."""
        return any(re.match(pattern.replace(".", r"\.(?:.*\.)?") + r"(?:\.|$)", self.opcode) for pattern in patterns)


def machine_code(binary):
    """{(kernel, architecture): [Instruction]}; kernels by their short names."""
    found, arch, code = {}, None, None
    for line in output("cuobjdump", "-sass", binary).splitlines():
        if match := re.match(r"\s+code for (sm_\w+)", line):
            arch = match[1]
        elif match := re.match(r"\s+Function : (\S+)", line):
            code = found[match[1], arch] = []
        elif match := re.match(r"\s+/\*([0-9a-f]{4,})\*/\s+(?:(@!?U?P\w+)\s+)?([A-Z][\w.]*)\s*(.*?)\s*;", line):
            code.append(Instruction(int(match[1], 16), match[2] or "", match[3], match[4]))
    names = demangled(sorted({function for function, _ in found}))
    return {(short_name(names[function]), arch): code for (function, arch), code in found.items()}


def jump(instruction):
    """Where the instruction may go besides the next one (an address or nothing), and whether the next one may follow."""
    kind = instruction.opcode.split(".")[0]
    if kind in ("EXIT", "RET", "KILL"):
        return None, bool(instruction.guard)
    if kind in ("BRX", "JMX", "BRXU", "JMXU"):
        raise ValueError(f"an indirect jump at {instruction.address:#x}: {instruction.opcode} {instruction.operands}")
    if kind in ("BRA", "JMP", "CALL", "WARPSYNC") and (target := re.search(r"(?:^|[\s,])(0x[0-9a-f]+)$", instruction.operands)):
        # A predicate may also be the first operand: `BRA.U UP0, 0x80`. A call comes back, as the one of a division does.
        conditional = instruction.guard or "," in instruction.operands or kind in ("CALL", "WARPSYNC")
        return int(target[1], 16), bool(conditional)
    return None, True


@dataclasses.dataclass
class Loop:
    blocks: set  # of all its basic blocks
    code: list  # the instructions of all of them
    own: list = dataclasses.field(default_factory=list)  # those that are in no loop inside this one


def basic_blocks(code):
    """[[Instruction]] and, for each, the numbers of its successors."""
    leaders = {code[0].address}
    for this, following in zip(code, [*code[1:], None]):
        target, falls = jump(this)
        if target is not None:
            leaders.add(target)
        if (target is not None or not falls or this.guard and this.opcode == "EXIT") and following:
            leaders.add(following.address)
    blocks = []
    for instruction in code:
        if instruction.address in leaders:
            blocks.append([])
        blocks[-1].append(instruction)
    number = {block[0].address: i for i, block in enumerate(blocks)}
    successors = []
    for i, block in enumerate(blocks):
        target, falls = jump(block[-1])
        successors.append([*([number[target]] if target is not None else []), *([i + 1] if falls and i + 1 < len(blocks) else [])])
    return blocks, successors


def loops(code):
    """The natural loops of a kernel, the larger ones first: a jump to a block that every way to the jump leads through."""
    blocks, successors = basic_blocks(code)
    predecessors = [[] for _ in blocks]
    for i, following in enumerate(successors):
        for j in following:
            predecessors[j].append(i)
    reached, waiting = {0}, [0]
    while waiting:
        for j in successors[waiting.pop()]:
            if j not in reached:
                reached.add(j)
                waiting.append(j)
    dominators = {i: set(reached) for i in reached} | {0: {0}}
    changed = True
    while changed:
        changed = False
        for i in sorted(reached - {0}):
            new = {i} | set.intersection(*(dominators[p] for p in predecessors[i] if p in reached))
            changed = changed or new != dominators[i]
            dominators[i] = new
    bodies = {}
    for i in reached:
        for header in set(successors[i]) & dominators[i]:
            body, waiting = {header, i}, [i] if i != header else []
            while waiting:
                for p in predecessors[waiting.pop()]:
                    if p in reached and p not in body:
                        body.add(p)
                        waiting.append(p)
            bodies.setdefault(header, set()).update(body)
    found = [Loop(body, [x for i in sorted(body) for x in blocks[i]]) for body in sorted(bodies.values(), key=len, reverse=True)]
    for loop in found:
        inside = set().union(*(other.blocks for other in found if other.blocks < loop.blocks))
        loop.own = [x for i in sorted(loop.blocks - inside) for x in blocks[i]]
    return found


# --- Tables kept by hand ---------------------------------------------------------------------------------------------------------


def read_table(path):
    """The [[kernel]] entries of a TOML file. `name` may have * for anything."""
    with open(path, "rb") as file:
        return tomllib.load(file)["kernel"]


def matched(entries, kernels, path):
    """{kernel: its entry}, and what is wrong with the table: every kernel needs one entry, and every entry a kernel."""
    faults, chosen, used = [], {}, set()
    for kernel in sorted(kernels):
        fitting = [i for i, entry in enumerate(entries) if re.fullmatch(".*".join(map(re.escape, entry["name"].split("*"))), kernel)]
        used.update(fitting)
        if len(fitting) == 1:
            chosen[kernel] = entries[fitting[0]]
        elif not fitting:
            faults.append(f"{kernel} has no entry in {path}")
        else:
            faults.append(f"{kernel} has several entries in {path}: {', '.join(entries[i]['name'] for i in fitting)}")
    faults += [f"no kernel is called {entry['name']}, as an entry in {path} says" for i, entry in enumerate(entries) if i not in used]
    return chosen, faults
