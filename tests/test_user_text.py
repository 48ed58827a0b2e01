"""Names of a user's files, folders and classes are text wherever they are shown, whatever signs they hold."""

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from matplotlib.figure import Figure

from tests.pictures import png, write_files
from transfusion_lib import data, markup
from transfusion_lib.book import policy
from transfusion_lib.chapters.kit import style
from transfusion_lib.chapters.kit.page_table import page_table
from transfusion_lib.errors import BuildError

HOSTILE = (
    "<svg onload=alert(1)>",
    "`<img src=x onerror=alert(2)>`",
    "grade $x^{$",
    "$50 to $100",
    "正常 肺炎",
    "a|b **c** [d](javascript:alert(3)) {{ e }}",
    "</table></div></article><script>alert(4)</script>",
    "tab\tand\nnewline",
    "\x1b]0;x\x07\x1b[2J",
    "```\n<script>alert(5)</script>\n```",
    "\u202egnp.exe",
)


class Read(HTMLParser):
    """What a browser makes of HTML: its tags and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        """All text."""
        return "".join(self.words)


@given(st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Z")), min_size=1))
def test_plain_markdown_shows_what_was_written(words: str) -> None:
    shown = Read(MarkdownIt("commonmark").enable("table").render(f"of {markup.plain(words)}"))
    assert shown.tags == ["p"]
    said = shown.text.strip("\n")
    assert said.split() == f"of {' '.join(words.split())}".encode().decode().split() or not words.isprintable()


@pytest.mark.parametrize("words", HOSTILE)
def test_code_in_a_markdown_table_shows_what_was_written(words: str) -> None:
    text = markup.markdown(("a", "b"), [(markup.code(words), markup.plain(words))])
    shown = Read(MarkdownIt("commonmark").enable("table").render(text))
    assert set(shown.tags) == {"table", "thead", "tbody", "tr", "th", "td", "code"}
    assert shown.tags.count("td") == 2
    for piece in re.findall(r"\w{3,}", words):
        assert shown.text.count(piece) >= 2


@pytest.mark.parametrize("words", HOSTILE)
def test_a_block_of_html_ends_where_it_should(words: str) -> None:
    text = markup.raw(markup.table({words: words})) + "\nafter\n"
    first, *rest = MarkdownIt("commonmark").parse(text)
    assert first.type == "fence"
    assert markup.text(words) in first.content
    assert [token.type for token in rest] == ["paragraph_open", "inline", "paragraph_close"]


def test_a_table_of_a_page_is_text() -> None:
    frame = pd.DataFrame({name: [name, 1.0] for name in HOSTILE})
    page = page_table(frame, blank="").to_html()
    body = page[page.index("<table") :]
    shown = Read(body)
    assert set(shown.tags) == {"table", "thead", "tbody", "tr", "th", "td"}
    assert shown.text.count("<svg onload=alert(1)>") == 2


@style.drawing
def titled(words: str) -> Figure:
    """Draw a name wherever figures have some."""
    figure, axes = style.panels(1)
    axis = axes[0, 0]
    axis.plot([1, 10], [1, 2], label=words)
    axis.set_title(words)
    axis.set_yticks([1, 2], [words, words])
    axis.legend()
    style.logarithmic(axis, "x")
    style.label_ends(axis, [(1.0, words, style.BLUE)], x=2)
    return figure


@pytest.mark.parametrize("words", HOSTILE)
def test_a_figure_shows_any_name(words: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = style.svg(titled(words))
    ElementTree.fromstring(found)
    assert "<script" not in found
    assert "mathdefault" not in found


def test_names_in_another_script_can_be_read_in_a_figure() -> None:
    written = ElementTree.fromstring(style.svg(titled("正常"))).iter("{http://www.w3.org/2000/svg}text")
    assert "正常" in "".join(str(each.text) for each in written)
    assert "<text" not in style.svg(titled("normal")), "figures of the book itself do not depend on the reader's fonts"


def test_figures_do_not_depend_on_the_users_own_style() -> None:
    ours = style.svg(titled("a"))
    with plt.rc_context({"text.usetex": True, "lines.linewidth": 9.0, "axes.grid": True}):
        assert style.svg(titled("a")) == ours


def test_names_have_one_line_and_no_control_characters(tmp_path: Path) -> None:
    classes = ("new\nline", "\x1b[31mred", os.fsdecode(b"byte\xff"))
    folder = write_files(tmp_path, {f"{c}/{k}.png": png(10 * n + k) for n, c in enumerate(classes) for k in range(10)})
    found = data.check(folder)
    assert found.ok, found.problems
    assert found.sheet
    assert set(found.sheet.classes) == {r"new\nline", r"\x1b[31mred", r"byte\udcff"}


def test_the_policy_lets_the_themes_scripts_run_and_no_other(tmp_path: Path) -> None:
    head = '<html><head><meta charset="utf-8"/><script>theme()</script><script src="a.js"></script>'
    (tmp_path / "search.html").write_text(f"{head}</head><body></body></html>")
    page = f"{head}<script>DOCUMENTATION_OPTIONS.pagename = 'a/b-c';</script></head><body>words</body></html>"
    (tmp_path / "a.html").write_text(page)
    policy.protect(tmp_path)
    made = (tmp_path / "a.html").read_text()
    [rules] = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', made)
    [scripts] = [rule for rule in rules.split("; ") if rule.startswith("script-src")]
    assert "default-src 'none'" in rules
    assert "'unsafe-inline'" not in scripts
    assert made.index("Content-Security") < made.index("<script"), "it holds from the first script on"
    (tmp_path / "a.html").write_text(page.replace("words", "<script>alert(1)</script>"))
    with pytest.raises(BuildError, match=r"a\.html: alert"):
        policy.protect(tmp_path)


def test_a_terminal_gets_no_control_characters(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "set", {f"{c}/{k}.png": png(k) for c in ("a\x1b[2J\x9b1m", "b") for k in range(9)})
    for words in (("data", "check"), ("data", "check", "--json"), ("data", "show")):
        command = [sys.executable, "-m", "transfusion_lib", *words[:2], str(folder), *words[2:]]
        environment = os.environ | {"TRANSFUSION_STORE": str(tmp_path / "store"), "PYTHONIOENCODING": "ascii"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert all(c.isprintable() or c == "\n" for c in done.stdout + done.stderr), done
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_no_script_of_a_users_runs_in_a_built_page(tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or pytest.skip("needs Chromium")
    where = tmp_path / "set`<svg onload=document.title=1>"
    names = [name.replace("/", "_") for name in HOSTILE if name != "\x1b]0;x\x07\x1b[2J"]
    files: dict[str, bytes | str] = {f"{c}/{k}.png": png(100 * n + k) for n, c in enumerate(names) for k in range(12)}
    files[f"{names[0]}/<img src=x onerror=document.title=2>.png"] = b"broken"
    write_files(where, files)
    environment = os.environ | {"TRANSFUSION_STORE": str(tmp_path / "store")}
    command = [sys.executable, "-m", "transfusion_lib", "chapter", "tasks", "-p", "size=32", "-p", "on_bad=skip"]
    command += ["-p", f"datasets={json.dumps([str(where)])}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done
    [address] = re.findall(r"open (file://\S+)", done.stdout)
    for page in (
        address,
        address.replace("notebooks/02-tasks", "status"),
        address.replace("notebooks/02-tasks", "search"),
    ):
        flags = ["--headless", "--no-sandbox", "--enable-logging=stderr", "--dump-dom"]
        seen = subprocess.run([chromium, *flags, page], capture_output=True, text=True, check=False)
        assert "Content Security Policy" not in seen.stderr, seen.stderr
        assert "<title>1</title>" not in seen.stdout
        assert "<title>2</title>" not in seen.stdout
        assert 'data-mode="' in seen.stdout, "the theme's own scripts run"
