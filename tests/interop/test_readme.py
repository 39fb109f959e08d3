"""What the README shows is what is compiled and tested."""

import re

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
