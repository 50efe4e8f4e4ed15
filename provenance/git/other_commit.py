"""Check out another commit of the repository that a checkout belongs to."""

from __future__ import annotations

from pathlib import Path

from provenance.git.checkout import Checkout
from provenance.git.command import CodeSourceError, GitError, git
from provenance.git.fetch import fetch


def other_commit(root: Path, name: str, folder: Path) -> tuple[str, Path]:
    """Check out the commit `name` in the new folder `folder`.

    Parameters
    ----------
    root : Path
        The project's folder in a checkout.
    name : str
        A commit as git names it: an id, a branch, a tag, HEAD~1.
    folder : Path
        A folder that does not exist.

    Returns
    -------
    tuple of str and Path
        The whole id of the commit, and the project's folder in it.

    Raises
    ------
    CodeSourceError
        If `root` is in no checkout, the repository has no such commit, or the commit has no such project.
    """
    checkout = Checkout.of(root)
    if checkout is None:
        raise CodeSourceError(f"{root} is in no git checkout, so that no other commit can be run\n"
                              " Run from a clone of the project.")  # fmt: skip
    commit = _full_id(root, name)
    project = fetch(str(checkout.top), commit, folder) / checkout.prefix
    if not (project / "MLproject").is_file():
        where = f"folder {checkout.prefix.rstrip('/')}" if checkout.prefix else "it"
        raise CodeSourceError(f"commit {commit} has no MLproject in {where}\n Give a commit that has this project.")
    return commit, project


def _full_id(root: Path, name: str) -> str:
    try:
        return (
            git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", cwd=root).decode().strip()
        )
    except GitError as error:
        raise CodeSourceError(
            f"{name!r:.100} is no commit of this checkout\n Fetch it: git fetch origin (in continuous integration "
            "fetch-depth: 0), or give a commit that `git log` shows."
        ) from error
