"""The digest of the code one step uses."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance.record.code import CodeError, changed, closure, digest
from provenance.record.syntax import parse
from tests.support.project import ROOT


def project(root: Path, **modules: str) -> Path:
    """Write modules; "steps__train" is steps/train.py."""
    for name, text in modules.items():
        file = root.joinpath(*name.split("__")).with_suffix(".py")
        if name.endswith("__init"):
            file = file.with_name("__init__.py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def of(text: str) -> str:
    return parse(text.encode(), "module.py").digest


SAME = {
    "comment": ("x = 1\n", "# why\nx = 1  # because\n"),
    "blank lines": ("x = 1\ny = 2\n", "x = 1\n\n\n\ny = 2"),
    "line breaks": ("f(a, b)\n", "f(\n    a,\n    b,\n)\n"),
    "quotes": ("x = 'a'\n", 'x = "a"\n'),
    "parentheses": ("x = (1 + 2)\n", "x = 1 + 2\n"),
    "digit groups": ("x = 1000\n", "x = 1_000\n"),
    "hexadecimal": ("x = 255\n", "x = 0xFF\n"),
    "joined text": ("x = 'ab'\n", "x = 'a' 'b'\n"),
    "line ends": ("x = 1\ny = 2\n", "x = 1\r\ny = 2\r\n"),
    "byte order mark": ("x = 1\n", "\ufeffx = 1\n"),
    "module docstring": ("x = 1\n", '"""What."""\nx = 1\n'),
    "class docstring": ("class A:\n    x = 1\n", 'class A:\n    """What."""\n    x = 1\n'),
    "only a docstring": ("def f():\n    pass\n", 'def f():\n    """What."""\n'),
    "async docstring": ("async def f():\n    return 1\n", 'async def f():\n    "What."\n    return 1\n'),
    "another docstring": ('def f():\n    "Old."\n    return 1\n', 'def f():\n    "New."\n    return 1\n'),
}
OTHER = {
    "a constant": ("x = 1\n", "x = 2\n"),
    "its type": ("x = 1\n", "x = 1.0\n"),
    "truth for one": ("x = 1\n", "x = True\n"),
    "text for bytes": ("x = 'a'\n", "x = b'a'\n"),
    "an operator": ("x = a + b\n", "x = a - b\n"),
    "the order": ("f()\ng()\n", "g()\nf()\n"),
    "a name": ("x = a\n", "x = b\n"),
    "a default": ("def f(*, a): pass\n", "def f(*, a=None): pass\n"),
    "unpacking for a key": ("x = {None: a}\n", "x = {**a}\n"),
    "an annotation": ("x: int = 1\n", "x: float = 1\n"),
    "a decorator": ("@a\ndef f(): pass\n", "def f(): pass\n"),
    "an assertion": ("assert a\n", "pass\n"),
    "async": ("async def f(): pass\n", "def f(): pass\n"),
    "indentation": ("if a:\n    f()\n    g()\n", "if a:\n    f()\ng()\n"),
    "text that is no docstring": ("x = 1\n'a'\n", "x = 1\n'b'\n"),
    "an f-string": ("x = f'{a}'\n", "x = f'{a!r}'\n"),
    "an empty slice": ("x[:]\n", "x[0:]\n"),
    "an import's alias": ("import a\n", "import a as b\n"),
    "a relative import": ("from .a import b\n", "from a import b\n"),
    "a nested list": ("x = [[a], b]\n", "x = [[a, b]]\n"),
}


@pytest.mark.parametrize(("before", "after"), SAME.values(), ids=SAME)
def test_what_cannot_change_a_result_keeps_the_digest(before, after):
    """Comments, docstrings and formatting are not part of a module's digest."""
    assert of(before) == of(after)


@pytest.mark.parametrize(("before", "after"), OTHER.values(), ids=OTHER)
def test_any_other_change_changes_the_digest(before, after):
    """Whatever Python runs otherwise has another digest."""
    assert of(before) != of(after)


CONSTANTS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()


@settings(deadline=None)
@given(CONSTANTS, CONSTANTS)
def test_two_constants_agree_only_when_they_are_written_alike(a, b):
    """Constants of other value or type never share a digest (1, 1.0, True, "1", b"1")."""
    assert (of(f"x = {a!r}") == of(f"x = {b!r}")) == (repr(a) == repr(b))


def test_the_closure_follows_every_way_to_import(tmp_path):
    """`import a.b`, `from a import module`, `from a import name`, relative and local imports lead to files."""
    root = project(
        tmp_path,
        steps__train="import taxi.trips\nfrom taxi import models, VALUE\ndef f():\n    from taxi.deep import inner\n",
        steps__hpo="import taxi.search\n",
        taxi__init="VALUE = 1\n",
        taxi__trips="try:\n    import numpy\nexcept ImportError:\n    from . import fallback\n",
        taxi__fallback="",
        taxi__models="from .family import Family\n",
        taxi__family="class Family: pass\n",
        taxi__search="",
        taxi__deep__init="",
        taxi__deep__inner="from .. import units\nfrom ..other.thing import x\n",
        taxi__units="",
        taxi__other__thing="x = 1\n",
        tests__test_train="import steps.train\n",
    )
    assert list(closure(root, "steps.train")) == [
        "steps/train.py",
        "taxi/__init__.py",
        "taxi/deep/__init__.py",
        "taxi/deep/inner.py",
        "taxi/fallback.py",
        "taxi/family.py",
        "taxi/models.py",
        "taxi/other/thing.py",
        "taxi/trips.py",
        "taxi/units.py",
    ]


def test_modules_may_import_each_other(tmp_path):
    """A circle of imports ends."""
    root = project(tmp_path, a="import b\n", b="import a\n")
    assert list(closure(root, "a")) == ["a.py", "b.py"]


def test_a_star_brings_the_whole_package(tmp_path):
    """`from a import *` may load any module of the package, so all of them count."""
    root = project(tmp_path, main="from a import *\n", a__init="__all__ = ['b']\n", a__b="", a__c="")
    assert list(closure(root, "main")) == ["a/__init__.py", "a/b.py", "a/c.py", "main.py"]


def test_what_only_a_type_checker_reads_does_not_count(tmp_path):
    """An import under `if TYPE_CHECKING` never runs; one in its else does."""
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a\nelse:\n    import b\n"
    root = project(tmp_path, main=text, a="", b="")
    assert list(closure(root, "main")) == ["b.py", "main.py"]


@pytest.mark.parametrize("call", ["importlib.import_module('taxi.models')", "__import__('taxi.models')"])
def test_an_import_by_call_is_followed(tmp_path, call):
    """A module named as text in a call is imported like any other."""
    root = project(tmp_path, main=f"import importlib\nx = lambda: {call}\n", taxi__models="")
    assert list(closure(root, "main")) == ["main.py", "taxi/models.py"]


def test_an_import_by_variable_takes_all_that_the_module_names(tmp_path):
    """Which of the named modules it is, is known only at run time, so all of them count."""
    text = "from importlib import import_module\nCHOICES = ('taxi.a', 'taxi.b', 'numpy.x', 'no')\nimport_module(name)\n"
    root = project(tmp_path, main=text, taxi__a="", taxi__b="", taxi__c="")
    assert list(closure(root, "main")) == ["main.py", "taxi/a.py", "taxi/b.py"]


def test_an_import_that_cannot_be_known_is_an_error(tmp_path):
    """A module whose name is put together would be missed silently, and a changed one would be reused."""
    root = project(tmp_path, steps__train="import importlib\nimportlib.import_module(f'taxi.{x}')\n", taxi__a="")
    with pytest.raises(CodeError) as error:
        closure(root, "steps.train")
    assert str(error.value) == (
        "steps/train.py, line 2: which module is imported is known only at run time. "
        "Write the choices as text in this module ('models.linear'), or import them all."
    )


def test_a_module_of_the_same_name_elsewhere_is_not_taken(tmp_path):
    """A folder without Python files does not turn numpy into a module of the project."""
    root = project(tmp_path, main="import numpy.linalg\nimport docs\n")
    (root / "docs").mkdir()
    (root / "numpy").mkdir()
    assert list(closure(root, "main")) == ["main.py"]


def test_declared_data_files_count_byte_by_byte(tmp_path):
    """A file named in DATA_FILES is part of the closure; one beside it that is not named is not."""
    root = project(tmp_path, main="import taxi.city\n", taxi__city='DATA_FILES = ("zones.json",)\n')
    zones = root / "taxi" / "zones.json"
    zones.write_text("[1]")
    (root / "taxi" / "other.json").write_text("[1]")
    before = closure(root, "main")
    zones.write_text("[1] ")
    after = closure(root, "main")
    assert list(before) == ["main.py", "taxi/city.py", "taxi/zones.json"]
    assert [module.subject for module in changed(before, after)] == ["taxi/zones.json"]


@pytest.mark.parametrize("declared", ['("no.json",)', '("../../outside.json",)', "(NAME,)", '"zones.json"'])
def test_a_bad_declaration_is_an_error(tmp_path, declared):
    """Data files must be there, inside the project, and named literally."""
    (tmp_path / "outside.json").write_text("")
    root = project(tmp_path / "project", taxi__city=f"DATA_FILES = {declared}\n")
    with pytest.raises(CodeError, match=r"^taxi/city\.py.*DATA_FILES"):
        closure(root, "taxi.city")


def test_changed_names_what_differs(tmp_path):
    """Another step's module, a comment and a test change nothing; a changed, new and dropped module are named."""
    root = project(
        tmp_path, steps__train="import taxi.a, taxi.b\n", taxi__a="x = 1\n", taxi__b="", taxi__c="", steps__hpo=""
    )
    before = closure(root, "steps.train")
    project(root, taxi__a="x = 1  # one\n", steps__hpo="x = 1\n", taxi__c="x = 1\n")
    assert closure(root, "steps.train") == before
    project(root, steps__train="import taxi.a, taxi.c\n", taxi__a="x = 2\n")
    after = closure(root, "steps.train")
    assert [module.text for module in changed(before, after)] == [
        "steps/train.py",
        "taxi/a.py",
        "taxi/b.py (removed)",
        "taxi/c.py (added)",
    ]
    assert digest(before) != digest(after)


def test_the_folder_is_not_part_of_the_digest(tmp_path):
    """Two checkouts of one project have one closure."""
    first, second = (project(tmp_path / name, a="import b\n", b="x = 1\n") for name in ("first", "second"))
    assert digest(closure(first, "a")) == digest(closure(second, "a"))


def test_a_syntax_error_is_told_with_its_place(tmp_path):
    """The file, the line and what is wrong, in one line."""
    root = project(tmp_path, steps__train="import taxi.models\n", taxi__models="x = 1\ny = (\n")
    with pytest.raises(CodeError) as error:
        closure(root, "steps.train")
    assert str(error.value) == "taxi/models.py, line 2: '(' was never closed. The step cannot run: correct it first."


@pytest.mark.parametrize("text", [b"x = 1\0", b"# coding: no-such\n", b"x = '\xff'\n"])
def test_text_that_is_not_python_is_an_error(text):
    """Null bytes and unknown or wrong encodings are errors of the module, not of ours."""
    with pytest.raises(CodeError, match="The step cannot run"):
        parse(text, "module.py")


@pytest.mark.parametrize("name", ["steps.nothing", "", "../outside", "steps/train", "steps"])
def test_an_unknown_module_is_an_error(tmp_path, name):
    """A name that is no module of the project is told as such, and no path is followed."""
    project(tmp_path / "project", steps__train="")
    (tmp_path / "outside.py").write_text("")
    with pytest.raises(CodeError, match="has no module"):
        closure(tmp_path / "project", name)


def test_a_relative_import_above_the_top_is_an_error(tmp_path):
    """It could not run either."""
    with pytest.raises(CodeError, match=r"^main\.py imports \.x from above its package"):
        closure(project(tmp_path, main="from .x import y\n"), "main")


def test_the_whole_project_takes_a_blink():
    """Every run computes closures before it starts: all steps together take well under a second."""
    start = time.process_time()
    for file in sorted((ROOT / "steps").glob("*.py")):
        closure(ROOT, f"steps.{file.stem}")
    assert time.process_time() - start < 1  # s; 0.1 s on an idle machine
