"""Check out the code of recorded runs, and decide whether it may be fetched and run.

A record comes from a server and may be hostile. To repeat a run means to run its author's code. So the code is fetched
from this checkout's own repository or from one that the user names, and never from an address in a record.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from provenance.git import source
from provenance.git.checkout import Checkout
from provenance.git.command import GitError, git
from provenance.git.fetch import on_branch, reachable
from provenance.git.source import CodeSourceError, Source
from provenance.pipeline.session import Session
from provenance.record import code
from provenance.record.digest import DigestError, check_name
from provenance.reproduce.bundle import Bundle
from provenance.reproduce.recorded_run import RecordedRun


class CodeRefused(ValueError):
    """Code is not fetched or not run: it is foreign or altered, or the user did not allow its patch."""


class RecordedCode:
    """Checkouts of recorded commits in `folder`, one for each commit and patch.

    repo: the repository that the user named; None allows only this checkout's own.
    patch: whether the user allows patches.
    bundle: the bundle that the user named, which contains the code.
    """

    def __init__(self, session: Session, folder: Path, repo: str | None = None, patch: bool = False,
                 bundle: Bundle | None = None):  # fmt: skip
        self._session, self._folder, self._repo, self._patch = session, folder, repo, patch
        self._bundle = bundle
        self._made: dict[tuple[str, str | None], Path] = {}

    def project(self, original: RecordedRun) -> Path:
        """The folder with the MLproject that `original` ran. Raises CodeRefused or CodeSourceError."""
        recorded = Source.from_dict(original.lineage.source)
        if recorded.commit is None:
            return self._plain_folder(original)
        where = (source.check_commit(recorded.commit), recorded.patch if recorded.dirty else None)
        if where not in self._made:
            if recorded.note:
                self._session.say(f"run {original.run_id}: {recorded.note!a:.300}")
            self._made[where] = self._check_out(original, recorded, where[0], self._folder / f"code-{len(self._made)}")
        return inside(self._made[where], recorded.folder or "")

    def _module(self, original: RecordedRun) -> str:
        return f"{self._session.pipeline.package}.{original.lineage.step}"

    def _plain_folder(self, original: RecordedRun) -> Path:
        here = code.digest(code.closure(self._session.root, self._module(original)))
        if here != original.lineage.code_digest:
            raise CodeRefused(
                f"run {original.run_id} was made from a plain folder, whose code is not this checkout's\n"
                " Ask its author for the folder and reproduce from there, or for a run of a commit."
            )
        return self._session.root

    def _check_out(self, original: RecordedRun, recorded: Source, commit: str, folder: Path) -> Path:
        patch = self._allowed_patch(original, recorded)
        if self._bundle and not self._repo:
            self._bundle.code(commit, folder)
        else:
            source.fetch(self._remote(recorded, commit), commit, folder)
        if patch:
            tree = source.apply_patch(folder, patch)
            if tree != recorded.tree:
                raise CodeRefused(f"the patch of run {original.run_id} gives another tree than recorded\n"
                                  " The record was altered: do not use the run.")  # fmt: skip
        return folder

    def _remote(self, recorded: Source, commit: str) -> str:
        """The repository from which to fetch the commit: the user's choice, or this checkout or its remote.

        Without a choice of the user the commit must be on a branch of this checkout or of its remote. It is not enough
        that the checkout contains the commit: it also contains each fetched pull request.
        """
        if self._repo:
            return source.check_remote(self._repo, None)
        checkout = Checkout.of(self._session.root)
        top = checkout.top if checkout else None
        remote = None
        if recorded.remote is not None:
            own = [source.own_remote(checkout), str(top)] if checkout else []
            remote = source.check_remote(recorded.remote, own)
        if top and self._is_own(top, commit):
            return str(top)
        if remote is None or (top and source.same_repository(remote, str(top))):
            raise CodeRefused(
                f"commit {commit} is not on a branch of this checkout, and the run has no other recorded "
                f"remote\n If you trust its author, pass -P repo= with a repository that has it{_or_here(top)}."
            )
        try:
            published = source.published(remote, commit, top)
        except CodeSourceError as error:
            raise CodeRefused(
                f"{source.clean_remote(remote)} cannot be asked whether commit {commit} is on a branch or tag "
                f"of it ({_first_line(error)})\n Try again when it answers. If you trust the author, pass -P repo= "
                f"with a repository that has the commit{_or_here(top)}."
            ) from error
        if not published:
            raise CodeRefused(
                f"commit {commit} is on no branch or tag of {source.clean_remote(remote)}: its author is unknown"
                f"\n If you trust its author, pass -P repo= with that remote{_or_here(top)}."
            )
        return str(top) if top and _has(top, commit) else remote

    @staticmethod
    def _is_own(top: Path, commit: str) -> bool:
        """Whether `commit` is on a local branch of the checkout at `top`, or is checked out there.

        Tags count only if there is no remote, because git also fetches the tags of remotes.
        """
        heads = ["refs/heads"] if git("remote", cwd=top).strip() else ["refs/heads", "refs/tags"]
        head = git("rev-parse", "HEAD", cwd=top).decode().strip()
        return on_branch(top, commit, *heads) or reachable(top, commit, [head])

    def _allowed_patch(self, original: RecordedRun, recorded: Source) -> bytes | None:
        if not recorded.dirty:
            return None
        patch = original.patch
        if patch is None or hashlib.sha256(patch).hexdigest() != recorded.patch:
            raise CodeRefused(f"the patch of run {original.run_id} is missing or is not the one recorded\n"
                              " Its tree was not committed, so its code cannot be had.")  # fmt: skip
        summary = summarised(patch)
        if not self._patch:
            raise CodeRefused("\n".join([
                f"run {original.run_id} ran with uncommitted changes:", *summary,
                " Read patch.diff of the run; when you trust its author, pass -P patch=true."]))  # fmt: skip
        self._session.say(f"applying the patch of run {original.run_id}:")
        for line in summary:
            self._session.say(line)
        return patch


def summarised(patch: bytes) -> list[str]:
    """One line for each path that a patch changes. Raises CodeSourceError for a patch that is not allowed."""
    return [
        f"  {path}  {what}" + ("" if plus is None else f"  +{plus} -{minus}")
        for path, what, plus, minus in source.patch_summary(patch)
    ]


def inside(top: Path, folder: str) -> Path:
    """The project in `folder` of the clone `top`.

    Raises CodeRefused if it is outside the clone or has no MLproject.
    """
    if folder:
        try:
            check_name(folder, "The record")
        except DigestError as error:
            raise CodeRefused(f"{error} The record was altered: do not use the run.") from None
    project = (top / folder).resolve()
    if not project.is_relative_to(top.resolve()) or not (project / "MLproject").is_file():
        raise CodeRefused(f"the recorded commit has no MLproject in folder {folder!r:.100}\n"
                          " The record was altered, or the commit is not of this project.")  # fmt: skip
    return project


def _or_here(top: Path | None) -> str:
    return f" (this checkout is {top})" if top else ""


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _has(top: Path, commit: str) -> bool:
    try:
        git("cat-file", "-e", f"{commit}^{{commit}}", cwd=top)
    except GitError:
        return False
    return True
