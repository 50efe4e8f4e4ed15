"""Which files of a work tree are recorded and sent with a run: those of the project's code, and no secret."""

import random

import pytest

from provenance.git.secret_scan import scan, secret_name
from provenance.git.source import CodeSourceError, WorkTree, apply_patch, fetch, patch_summary, read
from tests.support.project import ROOT
from tests.support.repository import commit, run, tree, write

pytestmark = pytest.mark.usefixtures("nobodys_git_configuration")

FILES = {"MLproject": b"name: x\n", "steps/train.py": b"x = 1\n", ".gitignore": b"local.py\n*.parquet\n"}
READS = ("steps/train.py",)


@pytest.fixture
def project(tmp_path):
    """A committed project of one module."""
    root = tmp_path / "project"
    commit(root, FILES)
    return root


def captured(project, *reads: str):
    return WorkTree(project).captured([*READS, *reads])


def paths(found) -> list[str]:
    return [path for path, _ in found.files]


LYING_ABOUT = {
    ".env": b"DATABASE_PASSWORD=x\n",
    ".env.local": b"A=1\n",
    "docs/team/auth.ini": b"[mlflow]\n",
    "docs/team/.env": b"ADMIN_PASSWORD=x\n",
    "server.pem": b"key\n",
    "id_rsa": b"key\n",
    "trips.csv": b"1,2\n" * 100_000,
    "run.zip": random.Random(1).randbytes(2_000_000),
    "notes.txt": b"my password is hunter2hunter2\n",
    "steps/draft.py": b"import nothing_there\n",
    "condaenv.abc.requirements.txt": b"numpy\n",
    "a\nb": b"",
}


def test_untracked_files_that_nothing_reads_are_no_part_of_a_run(project):
    """The tree is clean: a bundle, data and passwords that lie about neither go up nor make a run irreproducible."""
    write(project, LYING_ABOUT)
    found = captured(project)
    assert (found.patch, found.files, found.left_out) == (b"", (), ())
    assert found.source == read(project, READS)
    assert (found.source.dirty, found.source.tree) == (False, run(project, "rev-parse", "HEAD^{tree}"))


def test_what_the_code_reads_is_captured_although_git_does_not_know_it(project, tmp_path):
    """A new module, a data file it names and a new lock; they come back in a clone, and nothing else does."""
    write(
        project, LYING_ABOUT | {"taxi/new.py": b"y = 1\n", "taxi/zones.json": b"{}\n", "requirements.lock": b"a==1\n"}
    )
    (project / "steps" / "train.py").write_bytes(b"import taxi.new\n")
    found = captured(project, "taxi/new.py", "taxi/zones.json")
    assert paths(found) == ["requirements.lock", "steps/train.py", "taxi/new.py", "taxi/zones.json"]
    assert found.lines()[1] == "steps/train.py (16 bytes)"
    fetch(str(project), found.source.commit, tmp_path / "clone")
    assert apply_patch(tmp_path / "clone", found.patch) == found.source.tree
    assert set(tree(tmp_path / "clone")) == {*FILES, *paths(found)}


def test_links_on_the_way_to_a_file_that_is_read_are_captured(project):
    """A module behind a link, and a folder that is one."""
    write(project, {"taxi/real.py": b"", "taxi/link.py": "real.py", "city": "taxi", "other": "docs"})
    assert paths(captured(project, "taxi/link.py")) == ["city", "taxi/link.py", "taxi/real.py"]


def test_what_is_staged_is_captured(project):
    """Whoever adds a file to git means it to be part of the code."""
    write(project, {"new.txt": b"1\n", "forced.parquet": b"2\n"})
    run(project, "add", "new.txt")
    run(project, "add", "-f", "forced.parquet")
    assert paths(captured(project)) == ["forced.parquet", "new.txt"]


def test_a_changed_file_named_as_a_secret_is_left_out_and_told(project):
    """Although it is committed: its new content goes nowhere, nor does the old one when it is removed."""
    commit(project, {".env": b"A=1\n", "auth.ini": b"old\n"})
    write(project, {".env": b"A=2\n"})
    (project / "auth.ini").unlink()
    found = captured(project)
    why = "its name is that of a file of passwords or keys"
    assert (found.patch, found.left_out) == (b"", ((".env", why), ("auth.ini", why)))
    assert not found.source.dirty and found.source.note is None


@pytest.mark.parametrize(
    ("name", "why"),
    [("local.py", "git ignores it, or it is not of this repository"),
     ("credentials.py", "its name is that of a file of passwords or keys")],
)  # fmt: skip
def test_what_the_code_reads_and_no_patch_may_hold_is_noted(project, name, why):
    """The run goes on, and its record says that nobody else can repeat it."""
    write(project, {name: b"x = 1\n"})
    found = captured(project, name)
    assert (found.patch, found.left_out) == (b"", ((name, why),))
    assert found.source.note == f"not in the patch, although the code reads it: {name} ({why})"


SECRET_NAMES = [
    ".env", ".env.prod", "prod.env", ".envrc", "a/.ENV", "x.pem", "tls.key", "id_rsa", "id_rsa.pub", "id_ed25519",
    "auth.ini", ".netrc", "credentials", "credentials.json", "gcp_credentials.json", ".pypirc", "x.kdbx",
    ".git-credentials", "kubeconfig", "kubeconfig.yaml", ".aws/config", ".ssh/known_hosts", "client_secret_1.json",
    "secrets.toml", ".mlflow/x", "x.p12", ".htpasswd", "service-account.json", "terraform.tfstate",
]  # fmt: skip


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_names_of_secret_files_are_known(name):
    """However they are written, in whatever folder."""
    assert secret_name(name) and secret_name(f"a/b/{name}")


@pytest.mark.parametrize("name", ["steps/train.py", "environment.py", "keys.py", "auth.py", "expected.json", "a.keyed"])
def test_ordinary_names_are_not_secret(name):
    """Nor is a module that deals with such files."""
    assert not secret_name(name)


HEX = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
SECRETS = [
    'password = "hunter2hunter2"',  # pragma: allowlist secret
    'DATABASE_PASSWORD="x9Kd83jfls"',  # pragma: allowlist secret
    'os.environ["MLFLOW_TRACKING_PASSWORD"] = "correct-horse"',  # pragma: allowlist secret
    'key = "AKIAIOSFODNN7EXAMPLQ"',  # pragma: allowlist secret
    'key = """-----BEGIN RSA PRIVATE KEY-----',  # pragma: allowlist secret
    'url = "https://ada:hunter2@example.org/x"',  # pragma: allowlist secret
    f'SESSION_KEY = "{HEX}"',
    'api_token = "k9dj38fjd83kd93kd"',  # pragma: allowlist secret
    'x = "ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"',  # pragma: allowlist secret
    "x = " + "1, " * 3_000 + '"ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"' + ", 2" * 3_000,  # pragma: allowlist secret
]


@pytest.mark.parametrize("line", SECRETS)
def test_a_line_that_looks_like_a_secret_is_found(line):
    """Also deep in a line of thousands of characters, unless its end says that it is none."""
    assert [finding.line for finding in scan("taxi/x.py", [(6, "y = 1"), (7, line)])] == [7]
    assert scan("taxi/x.py", [(7, line + "  # pragma: allowlist secret")]) == []


HARMLESS = [
    f'"digest": "{HEX}",',
    f"    --hash=sha256:{HEX} \\",
    f'  "taxi/boosting.py": "{HEX}",',
    "password = params[name]",
    'address = "127.0.0.1"',
    'uri = "runs:/0123456789abcdef0123456789abcdef/dataset"',
    "git@example.org:ada/taxi.git",
]


@pytest.mark.parametrize("line", HARMLESS)
@pytest.mark.parametrize("name", ["expected.json", "requirements.lock", "taxi/x.py"])
def test_digests_and_code_are_no_secrets(line, name):
    """Else no run with a renewed lock, or a new expected.json, could be recorded."""
    assert scan(name, [(1, line)]) == []


def test_a_token_in_code_is_a_value_in_quotes():
    """What a program calls a token is mostly none."""
    assert scan("taxi/x.py", [(1, "token = tokenizer.encode(text_of_a_trip_2023_01)")]) == []


def test_a_secret_in_the_changes_is_refused_with_file_and_line_but_not_itself(project):
    """Each place is named, with the ways out; the secret stands nowhere."""
    (project / "steps" / "train.py").write_bytes(b'x = 1\npassword = "hunter2hunter2"\n')  # pragma: allowlist secret
    # pragma: allowlist nextline secret
    write(project, {"taxi/new.py": b'# one\n# two\nurl = "https://ada:hunter2@example.org"\n'})
    with pytest.raises(CodeSourceError) as error:
        captured(project, "taxi/new.py").check_secrets()
    assert str(error.value).splitlines() == [
        "the uncommitted changes look as if they held a secret, and would be kept with the run:",
        "  steps/train.py, line 2: Secret Keyword",
        "  taxi/new.py, line 3: Basic Auth Credentials",
        " Move it out of the code, e.g. into a variable of the environment. If it is none, commit the change, "
        "or end its line with the comment: pragma: allowlist secret",
    ]


LINES = [f"x{number} = {number}" for number in range(1, 30)]
SECRET = 'password = "hunter2hunter2"'  # pragma: allowlist secret


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ([*LINES, SECRET], LINES, 30),  # removed: our own advice, followed
        ([*LINES, SECRET], [*LINES[:-1], "x = 0", SECRET], 30),  # beside a change
        ([f"def connect({SECRET}):", *(f"    {line}" for line in LINES)],
         [f"def connect({SECRET}):", *(f"    {line}" for line in LINES[:20]), "    y = 1"], 19),  # git's heading
        ([SECRET, *LINES], [SECRET, *LINES, "y = 1"], None),  # far from any change: it does not go up
    ],
)  # fmt: skip
def test_every_line_that_a_patch_carries_is_looked_at(project, before, after, line):
    """Removed ones, those beside a change and the one that git repeats as a heading, as well as added ones."""
    commit(project, {"steps/a.py": "\n".join(before).encode()})
    (project / "steps" / "a.py").write_bytes("\n".join(after).encode())
    found = captured(project)
    assert paths(found) == ["steps/a.py"]
    if line is None:
        return found.check_secrets()
    with pytest.raises(CodeSourceError, match=f"steps/a.py, line {line}: Secret Keyword"):
        found.check_secrets()


@pytest.mark.parametrize(
    "content",
    # pragma: allowlist nextline secret
    [b"\0\1password = 'hunter2hunter2'\n", "\ufeffpassword = 'hunter2hunter2'\n".encode("utf-16-le")],
)
@pytest.mark.parametrize("size", [0, 5000])
def test_files_that_are_no_text_are_looked_at_too(project, content, size):
    """Binary ones, as git packs them into a patch, and text in UTF-16; also when only a part of a file changed."""
    filler = random.Random(2).randbytes(size).replace(b"\n", b"")
    commit(project, {"taxi/a.bin": content[:2] + filler})
    (project / "taxi" / "a.bin").write_bytes(content + filler)
    with pytest.raises(CodeSourceError, match=r"  taxi/a\.bin: Secret Keyword"):
        captured(project).check_secrets()


def test_findings_are_told_of_the_file_they_are_in(project):
    """Names with blanks and letters, files that became links, changed modes: none moves the others' names."""
    write(project, {"a b": b"1\n", "é": b"1\n", "m.sh": b"1\n", "l": b"1\n", "z.py": b"x = 1\n"})
    commit(project)
    (project / "m.sh").chmod(0o755)
    (project / "l").unlink()
    (project / "l").symlink_to("a b")
    for name in ("a b", "é", "z.py"):
        (project / name).write_bytes(b"y = 1\n")
    (project / "z.py").write_bytes(f"{SECRET}\n".encode())
    found = captured(project)
    assert [row[0] for row in patch_summary(found.patch)] == ["a b", "l", "m.sh", "z.py", "é"]
    with pytest.raises(CodeSourceError) as error:
        found.check_secrets()
    assert str(error.value).splitlines()[1:-1] == ["  z.py, line 1: Secret Keyword"]


def test_the_projects_own_code_has_no_such_line():
    """Else nobody could try a change of it without committing first."""
    files = [
        path
        for package in ("steps", "taxi", "provenance", "search", "runtime")
        for path in (ROOT / package).rglob("*.py")
    ]
    for path in [*files, ROOT / "MLproject", ROOT / "conda.yaml", ROOT / "expected.json"]:
        assert scan(path.name, list(enumerate(path.read_text().splitlines(), 1))) == []


def test_an_engine_that_a_project_links_to_is_captured(tmp_path):
    """A change behind the link, and a new file that the code reads, are in the patch and come out of it again."""
    top = tmp_path / "repository"
    commit(top, {"engine/run.py": b"x = 1\n", "other/note.txt": b"1\n",
                 "examples/one/MLproject": b"name: x\n", "examples/one/engine": "../../engine"})  # fmt: skip
    (top / "engine" / "run.py").write_bytes(b"x = 2\n")
    write(top, {"engine/new.py": b"y = 1\n"})
    (top / "other" / "note.txt").write_bytes(b"2\n")
    found = WorkTree(top / "examples" / "one").captured(["engine/run.py", "engine/new.py"])
    assert paths(found) == ["engine/new.py", "engine/run.py"]
    assert found.source.folder == "examples/one" and found.source.note is None
    clone = tmp_path / "clone"
    fetch(str(top), found.source.commit, clone)
    assert apply_patch(clone, found.patch) == found.source.tree
    assert (clone / "examples" / "one" / "engine" / "run.py").read_bytes() == b"x = 2\n"
