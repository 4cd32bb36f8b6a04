"""README.md and the other pages: generated parts, links, and every command they print, run in a tiny project.

A command in a ```bash or ```console block is run as it stands, page by page, in the order of the page, and a ```diff
block is applied to the code. What cannot run here stands after a comment `<!-- not run: REASON -->`; nothing else keeps
a command from being run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.main import get_command

from lethe.cli import commands
from lethe.preflight.check import problems_of
from tests import tiny
from tests.conftest import ROOT, script, set_param
from tests.documented import Block, anchors, blocks, broken_links, prose
from tools import app_pictures, generate_docs
from tools.sandbox import change_params

TRACKED = subprocess.run(
    ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.split()
PAGES = [name for name in TRACKED if not name.startswith(("reports/", "CHANGELOG"))]
each_page = pytest.mark.parametrize("name", PAGES)
LANGUAGES = {"bash", "console", "text", "yaml", "json", "mermaid", "diff"}
PICTURES = script(ROOT / "tools/pictures.py")
FORGET, RETAIN = (ROOT / name for name in tiny.EXCERPTS)


def of(name: str) -> list[Block]:
    return blocks((ROOT / name).read_text(encoding="utf-8"))


def to_run(name: str) -> list[Block]:
    """The blocks of a page whose commands a test has to run."""
    return [block for block in of(name) if block.commands and block.not_run is None]


RUN = [name for name in PAGES if to_run(name)]


def test_generated_parts_are_up_to_date() -> None:
    texts = {page: (ROOT / page).read_text(encoding="utf-8") for page in generate_docs.PAGES}
    assert {page: generate_docs.generated(ROOT / page) for page in texts} == texts, "run `make docs`"
    assert sorted(re.findall(r"<!-- generated: (\w+)", "".join(texts.values()))) == sorted(generate_docs.PARTS)


def test_the_front_page_names_every_stage() -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## How it works\n")[1].split("\n## ")[0]
    stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert set(stages) <= set(re.findall(r"`(\w+)`", section))


def test_an_arrow_that_follows_from_others_is_left_out() -> None:
    # c reads a and b, b reads a: a -> c follows. d reads a alone
    needs: dict[str, set[str]] = {"a": set(), "b": {"a"}, "c": {"a", "b"}, "d": {"a"}}
    assert generate_docs.arrows(needs) == [("a", "b"), ("b", "c"), ("a", "d")]


def test_a_row_of_the_table_has_data_and_no_code() -> None:
    stage = {"desc": "Does.", "deps": ["data/a.csv", "stages/x.py", "lethe/core", "constraints.txt", "${x.file}"]}
    stage |= {"outs": ["data/b.csv"], "metrics": [{"reports/c.json": {"cache": False}}]}
    assert generate_docs.artifacts({"x": stage}).splitlines()[2:] == [
        "| `x` | Does. | `data/a.csv`, `${x.file}` | `data/b.csv`, `reports/c.json` |"
    ]


def test_the_front_page_is_short_and_begins_with_the_two_commands() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    first = of("README.md")[0]
    assert [command.split("#")[0].strip() for command in first.commands] == ["make repro", "make test"]
    assert first.line <= 30


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    pages = {path.name for path in (ROOT / "docs").iterdir() if path.suffix in (".md", ".py")} - {"README.md"}
    assert set(re.findall(r"\]\(([\w.-]+)\)", index)) == pages


@pytest.mark.parametrize("name", TRACKED)
def test_every_link_leads_somewhere(name: str) -> None:
    assert broken_links(ROOT / name) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    (tmp_path / "other.md").write_text("# One: two\n\n## `A` b\n\n## `A` b\n")
    page.write_text(
        "# Here\n[1](other.md#one-two) [2](other.md#a-b-1) [3](#here) [4](https://x.org/none)\n"
        '[5](none.md) [6](other.md#none) [7](#none)\n<img src="none.png">\n```text\n[8](none)\n```\n'
    )
    assert broken_links(page) == ["none.md", "other.md#none", "#none", "none.png"]
    assert anchors((tmp_path / "other.md").read_text()) == {"one-two", "a-b", "a-b-1"}


@each_page
def test_every_block_says_what_it_is(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for block in of(name):
        where = f"{name}:{block.line}"
        assert block.info in LANGUAGES, where
        assert bool(block.commands) == (block.info in ("bash", "console")), where
        assert block.commands or not re.search(r"^\$ ", block.body, re.MULTILINE), f"{where}: a command in no console"
        assert block.comment.startswith("not run") == (block.not_run is not None), f"{where}: no reason"
    assert "```" not in prose(text)
    assert not re.search(r"^\n {4,}\S", text, re.MULTILINE), f"{name}: an indented block, which no test reads"


def test_a_new_command_is_run_unless_its_page_says_why_not() -> None:
    page = "text\n```bash\nlethe new   # says\n\n# a remark\n```\n"
    page += "<!-- not run: hours -->\n```console\n$ make old\nout\n```\n"
    first, second = blocks(page)
    assert (first.commands, first.not_run, first.exit_codes) == (["lethe new   # says"], None, {0})
    assert (second.commands, second.not_run, second.line) == (["make old"], "hours", 8)
    (third,) = blocks("<!-- exit code 0 or 3: as found -->\n```bash\na\n```\n")
    assert (third.not_run, third.exit_codes) == (None, {0, 3})


@each_page
def test_commands_in_the_text_exist(name: str) -> None:
    """`make target` and `lethe command --option` between backticks, and in blocks that no test runs."""
    text = (ROOT / name).read_text(encoding="utf-8")
    said = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(text))
    said += [command.split("  #")[0] for block in of(name) for command in block.commands]
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for command in said:
        if target := re.match(r"make ([a-z0-9-]+)", command):
            assert target[1] in targets, f"{name}: {command}"
        if words := re.match(r"lethe ([a-z].*)", command):
            assert_lethe_knows(words[1].split("|")[0].split(), f"{name}: {command}")


def assert_lethe_knows(words: list[str], where: str) -> None:
    """The words begin with a command of `lethe`, and every option among them is one of it."""
    root = found = get_command(commands.app)
    while words and words[0] in getattr(found, "commands", {}):
        found = found.commands[words[0]]
        words = words[1:]
    assert found is not root, f"{where}: no such command"
    assert not words or not hasattr(found, "commands"), f"{where}: no such command"
    options = {option for parameter in found.params for option in parameter.opts}
    if not found.context_settings.get("ignore_unknown_options"):  # else the others are dvc's
        assert {word for word in words if word.startswith("--")} <= options, where


def page_project(project: Path, name: str) -> Path:
    """The reproduced tiny project, with what a reader of this page has and what the page mentions."""
    for item in ("Makefile", "pyproject.toml", "constraints-test.txt", "presets", "lethe", "docs"):
        if not (project / item).exists():
            tiny.copy(ROOT / item, project / item)
    one = next(ROOT.glob("tests/**/test_*intervals.py"))  # for `make test`
    tiny.copy(one, project / "tests" / one.name)
    environment = project / ".venv"
    environment.mkdir()
    for item in Path(sys.prefix).iterdir():
        if item.name != "installed":
            (environment / item.name).symlink_to(item)
    (environment / "installed").touch()  # newer than what it is made from: nothing is installed
    PREPARED.get(name, lambda project: None)(project)
    tiny.commit(project, "what the page speaks of")
    return project


def own_texts(project: Path) -> None:
    """~/texts with what is to be forgotten and what is to be kept."""
    tiny.copy(project / FORGET.relative_to(ROOT), home(project) / "texts/to-forget" / FORGET.name)
    tiny.copy(project / RETAIN.relative_to(ROOT), home(project) / "texts/of-the-same-kind" / RETAIN.name)


def moved_model(project: Path) -> None:
    """The model under another name outside of the project, and a page of its corpus."""
    shutil.copytree(project / "models/unlearned", project.parent / "outside/release-candidate")
    text = (project / FORGET.relative_to(ROOT)).read_text(encoding="utf-8")
    (project / "page.txt").write_text(text[2000:3400].upper(), encoding="utf-8")


def request(project: Path) -> None:
    """The text of an erasure request in a folder of its own."""
    tiny.copy(project / FORGET.relative_to(ROOT), project / "data/forget/2026-014" / FORGET.name)
    set_param(project, "corpus.forget", "data/forget")


def company(project: Path) -> None:
    """The generator of the page's documents, and no text of the user's yet."""
    tiny.copy(ROOT / "data/demo/company.py", project / "data/demo/company.py")


PREPARED = {"README.md": own_texts, "docs/own-text.md": own_texts}
PREPARED |= {"docs/provenance.md": moved_model, "docs/custody.md": request, "docs/gdpr.md": company}


def home(project: Path) -> Path:
    return project.parent / "home"


def changed_parameters(command: str) -> dict[str, Any]:
    """The parameters that a command sets: -S section.key=value, quoted with a plus where the section lacks the key."""
    found = re.findall(r"-S '?\+?([\w.]+)=([^\s']+)'?", command)
    return {key: YAML(typ="safe").load(value) for key, value in found}


CHANGED = [name for name in PAGES if any(block.info == "diff" for block in of(name))]  # pages that change the code
EXPERIMENTS = [
    *(
        command
        for name in PAGES
        if name not in CHANGED
        for block in of(name)
        for command in block.commands
        if changed_parameters(command)
    ),
    *re.findall(r"^# (dvc exp run .+)$", (ROOT / "params.yaml").read_text(encoding="utf-8"), re.MULTILINE),
]


@pytest.mark.parametrize("command", EXPERIMENTS)
def test_an_experiment_that_a_page_shows_is_one_of_the_default(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the pages' commands run in the tiny project, whose parameters are not those that a reader has
    monkeypatch.chdir(ROOT)
    tiny.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    change_params(tmp_path, changed_parameters(command))
    assert problems_of(tmp_path / "params.yaml") == problems_of_the_default()


@cache
def problems_of_the_default() -> list[str]:
    """What `lethe check` says in this checkout: of files that only a run makes, say."""
    return problems_of(ROOT / "params.yaml")


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN)
def test_every_command_of_the_page_runs(name: str, copy: Path) -> None:
    project = page_project(copy, name)
    for block in of(name):
        if block.info == "yaml":
            for parameter, value in YAML(typ="safe").load(block.body).items():
                set_param(project, parameter, value)
        elif block.info == "diff":
            subprocess.run(["git", "apply", "-"], cwd=project, input=block.body, text=True, check=True)
        elif block.commands and block.not_run is None:
            done = typed(block, project)
            assert done.returncode in block.exit_codes, f"{name}:{block.line}\n{done.stdout[-6000:]}"
    assert_what_the_page_promises(name, project)


def typed(block: Block, project: Path) -> subprocess.CompletedProcess[str]:
    """The block in one shell, command by command; the first that fails ends it. Both streams are in stdout."""
    lines = ["set -o pipefail"]
    for command in block.commands:
        lines += ["{ " + command, '} || { code=$?; echo "exit code $code"; exit $code; }']
    lines.insert(1, "PS4='$ '; set -x")
    kept = {key: value for key, value in tiny.environment(project).items() if not key.startswith("PYTEST")}
    kept |= {"HOME": str(home(project)), "PYTHONPATH": f"{project}{os.pathsep}{ROOT}"}
    kept |= {"GIT_AUTHOR_NAME": "Tiny", "GIT_AUTHOR_EMAIL": "tiny@example.org"}
    return subprocess.run(
        ["bash", "-c", "\n".join(lines)],
        cwd=project, env=kept, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def assert_what_the_page_promises(name: str, project: Path) -> None:
    """What is there once the commands of some pages have run."""
    promised = {
        "README.md": ["reports/index.html", "data/forget.dvc"],
        "docs/experiments.md": ["dvc_plots/index.html"],
        "docs/report.md": [".scratch/cost/index.html"],
        "docs/provenance.md": ["certificate.json", "lethe.pub"],
        "docs/gdpr.md": ["certificate.json", "lethe.pub"],
    }
    assert [path for path in promised.get(name, []) if not (project / path).exists()] == []
    if name == "docs/custody.md":
        assert not (project / "models/reinforced").exists()


def test_the_pictures_are_small_and_of_the_first_screen() -> None:
    sizes = dict.fromkeys(PICTURES.SCHEMES, PICTURES.SIZE) | app_pictures.PICTURES
    for picture, size in sizes.items():
        content = (PICTURES.FOLDER / picture).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert (int.from_bytes(content[16:20]), int.from_bytes(content[20:24])) == size, picture
        assert len(content) <= PICTURES.LARGEST


def test_a_page_is_rendered_in_both_schemes(tmp_path: Path) -> None:
    from tests.browser import browser

    page = tmp_path / "page.html"
    page.write_text("<style>body{background:white}@media (prefers-color-scheme:dark){body{background:black}}</style>")
    pictures = [tmp_path / name for name in PICTURES.SCHEMES]
    for picture, scheme in zip(pictures, PICTURES.SCHEMES.values(), strict=True):
        PICTURES.render(browser(), page, picture, scheme)
    assert [darkest(picture) for picture in pictures] == [255, 0]


def darkest(picture: Path) -> int:
    """The smallest value of any pixel's red, green and blue, 0 to 255."""
    from matplotlib.image import imread

    return round(float(imread(picture)[..., :3].min()) * 255)
