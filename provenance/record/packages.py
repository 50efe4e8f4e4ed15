"""The packages that the lock requires on this platform, and those that are installed in this interpreter."""

import json
import os
import re
import sys

ABSENT = "absent"
_REQUIREMENT = re.compile(r"([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*===?\s*([^\s;\\]+)\s*(?:;\s*(.*))?")


def normal(name: str) -> str:
    """A package's name in PyPI's normal form: "Foo_Bar.baz" -> "foo-bar-baz"."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(text: str) -> dict[str, str]:
    """Name -> pinned version, sorted, of the lines of a lock whose marker is true on this platform.

    Raises ValueError, with the line's number, for a line that pins no version, pins a package twice or has a marker
    that cannot be read.
    """
    versions: dict[str, str] = {}
    held = _Markers()
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        whole = line
        while whole.endswith("\\"):
            whole = whole[:-1] + next(lines, (0, ""))[1]
        whole = re.sub(r"(^|\s)#.*", "", whole)
        whole = re.sub(r"\s--hash[= ]\S+", "", whole).strip()
        if not whole or whole.startswith("--"):
            continue
        match = _REQUIREMENT.fullmatch(whole)
        if not match:
            raise ValueError(f"line {number} pins no version: {whole[:80]!r}. Renew it with `make lock`.")
        name, version, marker = match.groups()
        if marker and not held(marker, number):
            continue
        if versions.setdefault(normal(name), version) != version:
            raise ValueError(f"line {number} pins {name} a second time. Renew it with `make lock`.")
    return dict(sorted(versions.items()))


class _Markers:
    """Evaluates environment markers. Each distinct text is evaluated once."""

    def __init__(self) -> None:
        self.known: dict[str, bool] = {}

    def __call__(self, marker: str, number: int) -> bool:
        if marker not in self.known:
            from packaging.markers import InvalidMarker, Marker

            try:
                self.known[marker] = Marker(marker).evaluate()
            except InvalidMarker:
                raise ValueError(
                    f"line {number} has a marker that cannot be read: {marker!r}. Run `make lock`."
                ) from None
        return self.known[marker]


def installed(path: list[str] | None = None) -> dict[str, str]:
    """Name -> version of all packages on `path` (default sys.path), sorted.

    If several folders have a package, the first one counts, as for an import. Two versions in one folder are both named
    ("1.0 and 2.0"). A package that did not come from an index gets a note ("1.0 (editable)"), because its version does
    not determine its content.
    """
    versions: dict[str, str] = {}
    for folder in dict.fromkeys(sys.path if path is None else path):
        here: dict[str, set[str]] = {}
        try:
            entries = [entry.name for entry in os.scandir(folder or ".")]
        except OSError:  # a zip file, or a folder that does not exist
            continue
        for entry in entries:
            if entry.endswith((".dist-info", ".egg-info")) and (found := _read(os.path.join(folder, entry), entry)):
                here.setdefault(normal(found[0]), set()).add(found[1])
        for name, several in here.items():
            versions.setdefault(name, " and ".join(sorted(several)))
    return dict(sorted(versions.items()))


def same_version(wanted: str, found: str) -> bool:
    """Whether both are the same version by PEP 440 (1.0 = 1.0.0)."""
    if wanted == found:
        return True
    from packaging.version import InvalidVersion, Version

    try:
        return Version(wanted) == Version(found)
    except InvalidVersion:  # absent, or not from an index
        return False


def _read(folder: str, entry: str) -> tuple[str, str] | None:
    """(name, version) of one metadata folder. The name of a .dist-info contains both, so its files need not be read."""
    stem = entry.rpartition(".")[0]
    if stem.startswith("~"):  # pip failed to remove this package completely
        return None
    if entry.endswith(".dist-info"):
        name, _, version = stem.partition("-")
        if not version or not os.path.exists(os.path.join(folder, "METADATA")):
            return None
        return name, version + _origin(folder)
    header = folder if os.path.isfile(folder) else os.path.join(folder, "PKG-INFO")
    try:
        with open(header, encoding="utf-8", errors="replace") as file:
            text = file.read(65536)
    except OSError:
        return None
    named, of_version = (re.search(rf"(?m)^{key}: *(\S+)", text) for key in ("Name", "Version"))
    return (named[1], of_version[1] + " (in development)") if named and of_version else None


def _origin(folder: str) -> str:
    """The package's origin from direct_url.json (PEP 610); "" if the package came from an index."""
    try:
        with open(os.path.join(folder, "direct_url.json"), encoding="utf-8") as file:
            origin = json.load(file)
        if "vcs_info" in origin:
            return f" (commit {origin['vcs_info']['commit_id'][:12]})"
        if origin.get("dir_info", {}).get("editable"):
            return " (editable)"
        return f" (file {origin['archive_info']['hashes']['sha256'][:12]})"
    except FileNotFoundError:
        return ""
    except (
        OSError,
        ValueError,
        AttributeError,
        KeyError,
        TypeError,
    ):  # a folder, no hash, or not valid by PEP 610
        return " (from elsewhere)"
