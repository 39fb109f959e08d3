"""What README.md and docs/ show is what is compiled and tested."""

import json
import os
import re
import subprocess
import sys
import textwrap

import numpy
import pytest
import safetensors.torch
from conftest import ROOT
from PIL import Image

PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])


def page_id(path):
    return str(path.relative_to(ROOT))


def blocks(page, language):
    """The text of every code block of a language in a page, without a list's indentation."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(text) if indent else text for indent, text in found]


def region(source, begin, end):
    """The lines between two comments of a source file, without their common indentation."""
    text = (ROOT / source).read_text()
    found = re.findall(rf"^[ \t]*// {begin}\n(.*?)^[ \t]*// {end}$", text, re.DOTALL | re.MULTILINE)
    assert len(found) == 1, f"{source} has {len(found)} regions '// {begin}' … '// {end}'"
    return textwrap.dedent(found[0])


def test_library_example_is_the_compiled_one():
    shown = blocks("README.md", "cpp")
    assert len(shown) == 1
    source = (ROOT / "examples" / "finetune.cpp").read_text()
    includes = [line + "\n" for line in source.splitlines() if line.startswith("#include <respeft/")]
    assert shown[0] == "".join(includes) + "\n" + region("examples/finetune.cpp", "README begins", "README ends")


@pytest.mark.parametrize("page", ["docs/extending.md", "docs/library.md"])
def test_quotes_are_the_compiled_examples(page):
    """Every block of C++ stands below a comment that names the file and the region it is quoted from."""
    text = (ROOT / page).read_text()
    quotes = re.findall(r"^ *<!-- (\S+\.cpp): (\w+) -->\n( *)```cpp\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    assert quotes and len(quotes) == len(blocks(page, "cpp")), f"{page}: a block of C++ does not name its source"
    for source, name, indent, shown in quotes:
        expected = textwrap.indent(region(source, f"docs begins: {name}", "docs ends"), indent)
        assert shown == expected, f"{page}: the quote of {source}, region {name}, is not what the file has"


def test_every_region_is_quoted():
    pages = "".join(page.read_text() for page in PAGES)
    for source in sorted((ROOT / "examples").rglob("*.cpp")):
        for name in re.findall(r"// docs begins: (\w+)$", source.read_text(), re.MULTILINE):
            quote = f"<!-- {source.relative_to(ROOT)}: {name} -->"
            assert quote in pages, f"no page quotes region {name} of {source.relative_to(ROOT)}"


def prose(path):
    """A page without its code blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(path):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page):
    targets = [t for t in re.findall(r"\]\(([^)]+)\)", prose(page)) if not t.startswith("http")]
    assert targets or page.name != "README.md"
    for target in targets:
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), f"{page.name} links to {target}, which is not there"
        if anchor:
            assert anchor in anchors(path), f"{page.name} links to {target}, a heading that is not there"


def test_every_page_is_one_click_from_the_readme():
    readme = (ROOT / "README.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert re.search(rf"\]\(docs/{page.name}[)#]", readme), f"README.md does not link to docs/{page.name}"


def test_exported_file_is_used_as_the_readme_does(case, program, tmp_path):
    """The README's Python, run as it stands, prints what `respeft predict` does."""
    model = case("vit_tiny_patch16_224", weights_size=64, num_classes=3)
    names = ["lily", "rose", "tulip"]
    how = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25], "size": 64, "interpolation": "bicubic"}
    metadata = {"format": "pt", "model": model.name, "preprocessing": json.dumps(how), "class_names": json.dumps(names)}
    safetensors.torch.save_file(safetensors.torch.load_file(model.weights), tmp_path / "merged.safetensors", metadata)
    program("export", "--weights", tmp_path / "merged.safetensors", "--out", tmp_path / "flowers.pt")
    pixels = numpy.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=numpy.uint8)
    Image.fromarray(pixels).save(tmp_path / "rose.png")
    (tmp_path / "rose.png").rename(tmp_path / "rose.jpg")  # formats are recognized from the content, so no pixel changes

    shown = blocks("README.md", "python")
    assert len(shown) == 1
    done = subprocess.run([sys.executable, "-c", shown[0]], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(program("predict", "--torchscript", tmp_path / "flowers.pt", tmp_path / "rose.jpg", "--json"))
    best = answer["predictions"][0]
    assert done.stdout == f"{best['class']} {best['probability']:.1%}\n"


def test_commands_on_small_vtab_can_be_pasted(tmp_path):
    """The block of shell commands, run as it stands in a folder that has what a built checkout has."""
    block = blocks("docs/vtab-fgvc.md", "sh")
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
