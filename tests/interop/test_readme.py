"""What the README shows is what is compiled and tested."""

import json
import os
import re
import subprocess

from conftest import ROOT


def test_library_example_is_the_compiled_one():
    readme = (ROOT / "README.md").read_text()
    shown = re.findall(r"```cpp\n(.*?)```", readme, re.DOTALL)
    assert len(shown) == 1
    source = (ROOT / "examples" / "finetune.cpp").read_text()
    region = re.search(r"^[ \t]*// README begins\n(.*?)^[ \t]*// README ends$", source, re.DOTALL | re.MULTILINE)
    assert region, "examples/finetune.cpp has no region '// README begins' … '// README ends'"
    includes = [line + "\n" for line in source.splitlines() if line.startswith("#include <respeft/")]
    lines = region[1].splitlines(keepends=True)
    indent = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    expected = "".join(includes) + "\n" + "".join(line[indent:] if line.strip() else "\n" for line in lines)
    assert shown[0] == expected


def test_links_lead_somewhere():
    readme = (ROOT / "README.md").read_text()
    targets = [t for t in re.findall(r"\]\(([^)]+)\)", readme) if not t.startswith("http")]
    assert targets
    for target in targets:
        assert (ROOT / target).exists(), f"README.md links to {target}, which is not there"


def test_commands_on_small_vtab_can_be_pasted(tmp_path):
    """The README's block of shell commands, run as it stands in a folder that has what a built checkout has."""
    block = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(block) == 1
    for name in (".venv", "build", "scripts"):
        (tmp_path / name).symlink_to(ROOT / name)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RESPEFT")}
    done = subprocess.run(["bash", "-euc", block[0]], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for name in ("svhn", "eurosat", "dsprites_loc", "dsprites_ori"):
        experiment = json.loads((tmp_path / "runs" / "vtab" / name / "summary.json").read_text())
        assert experiment["protocol"] == "honest"
        assert f"rlrr/vtab/{name}" in json.dumps(experiment)
        assert len(experiment["runs"]) == 2
    assert (tmp_path / "svhn.safetensors").stat().st_size > 80_000_000  # a ViT-S, folded
    for column in ("svhn", "eurosat", "dsprites_loc", "dsprites_ori", "natural", "specialized", "structured", "±"):
        assert column.lower() in done.stdout.lower(), done.stdout
