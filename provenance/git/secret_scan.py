"""Files and lines that look like a secret, so that they are never sent to a server with a run's patch."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

# Names, in lower case, of files that hold keys and passwords. Their content is not looked at: they stay here.
SECRET_FILES = (
    ".env*", "*.env", ".netrc", "_netrc", ".pypirc", ".npmrc", ".pgpass", ".my.cnf", ".htpasswd", ".dockercfg",
    ".git-credentials", ".boto", ".s3cfg", "auth.ini", "basic_auth.ini", "credentials*", "*credentials.json",
    "client_secret*", "service_account*.json", "service-account*.json", "secrets.*", ".secrets*", "kubeconfig*",
    "*.kubeconfig", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.ppk", "*.kdb", "*.kdbx", "*.gpg",
    "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "*.tfvars", "*.tfstate",
)  # fmt: skip
SECRET_FOLDERS = (".ssh", ".aws", ".azure", ".gnupg", ".kube", ".docker", ".mlflow")

# detect-secrets' own detectors, with two left out. HexHighEntropyString: this project is full of SHA-256 digests
# (expected.json, the locks' hashes), which look like random keys. IPPublicDetector: an address is no secret.
DETECTORS = (
    "ArtifactoryDetector", "AWSKeyDetector", "AzureStorageKeyDetector", "Base64HighEntropyString", "BasicAuthDetector",
    "CloudantDetector", "DiscordBotTokenDetector", "GitHubTokenDetector", "GitLabTokenDetector",
    "IbmCloudIamDetector", "IbmCosHmacDetector", "JwtTokenDetector", "KeywordDetector", "MailchimpDetector",
    "NpmDetector", "OpenAIDetector", "PrivateKeyDetector", "PypiTokenDetector", "SendGridDetector", "SlackDetector",
    "SoftlayerDetector", "SquareOAuthDetector", "StripeDetector", "TelegramBotTokenDetector", "TwilioKeyDetector",
)  # fmt: skip
# What they do not look for: a value of 16 characters or more, a digit among them, that is called a token or such a key.
_NAME = r"(?i)(?:token|(?:session|access|signing|encryption|master|hmac)_?key)\w{0,40}[\"'\]]{0,2}\s{0,9}[:=]\s{0,9}"
_VALUE = r"(?=[^\"'\s]{0,99}\d)[\w+/=.~-]{16,}"
_QUOTED, _BARE = re.compile(f"{_NAME}[bru]?[\"']{_VALUE}"), re.compile(f"{_NAME}[\"']?{_VALUE}")
_HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@(.*)")
LINE = 2_000  # characters looked at in one go: the detectors' time grows faster than the line
OVERLAP = 300  # characters of a piece of a long line that the next one repeats


@dataclass(frozen=True)
class Finding:
    """A line that looks like a secret; the secret itself is not kept."""

    path: str
    line: int  # of the file as it is, or as it was for a removed line; 0 in a file that is no text
    kind: str  # as detect-secrets names it


def secret_name(path: str) -> bool:
    """Whether `path`, with "/" between its parts, is named as a file of keys or passwords."""
    *folders, name = path.lower().split("/")
    return any(folder in SECRET_FOLDERS for folder in folders) or any(
        fnmatchcase(name, pattern) for pattern in SECRET_FILES
    )


def scan(path: str, lines: list[tuple[int, str]]) -> list[Finding]:
    """The lines (number, text) of file `path` that look like a secret, by detect-secrets; no server is asked.

    A line that says ``pragma: allowlist secret`` in a comment is passed over, as everywhere with detect-secrets.
    """
    # The function behind its `scan` command: the public ones read whole files from the disk.
    from detect_secrets.core.scan import _process_line_based_plugins
    from detect_secrets.filters.allowlist import is_line_allowlisted
    from detect_secrets.settings import transient_settings
    from detect_secrets.util.code_snippet import get_code_snippet

    pieces = [(number, piece) for number, text in lines for piece in _pieces(text)]
    texts = [text for _, text in pieces]
    with transient_settings({"plugins_used": [{"name": name} for name in DETECTORS]}):
        found = {(secret.line_number, secret.type) for secret in _process_line_based_plugins(
            list(enumerate(texts, 1)), path)}  # fmt: skip
    named = _QUOTED if path.endswith(".py") else _BARE  # in code only a text in quotes is a value
    for place, text in enumerate(texts, 1):
        if named.search(text) and not is_line_allowlisted(path, text, get_code_snippet(texts, place)):
            found.add((place, "Token"))
    kinds = {pieces[place - 1][0]: kind for place, kind in sorted(found, reverse=True)}
    return [Finding(path, number, kind) for number, kind in sorted(kinds.items())]


def scan_patch(patch: bytes, paths: Sequence[str]) -> list[Finding]:
    """What looks like a secret in a patch, which changes `paths` in this order: in all lines that it carries.

    Those removed, or beside a change, go up with it as well as those added.
    """
    found: list[Finding] = []
    names, path = iter(paths), ""
    header: bytes | None = None
    lines: list[tuple[int, str]] = []
    for head, carried in _files(patch):
        if head != header:  # else a file that became a link, which comes twice
            found += scan(path, lines)
            header, path, lines = head, next(names), []
        lines += carried
    return found + scan(path, lines)


def _files(patch: bytes) -> Iterator[tuple[bytes, list[tuple[int, str]]]]:
    """(header, lines with their numbers) for each file of a patch that git wrote here."""
    rows = iter(patch.split(b"\n"))
    header: bytes | None = None
    lines: list[tuple[int, str]] = []
    for row in rows:
        if row.startswith(b"diff --git "):
            if header is not None:
                yield header, lines
            header, lines = row, []
        elif match := _HUNK.match(row):
            old, olds, new, news = (1 if number is None else int(number) for number in match.groups()[:4])
            lines.append((new, _text(match[5])))  # git repeats a line from above the change there
            end_old, end_new = old + olds, new + news
            while old < end_old or new < end_new:
                sign, text = (row := next(rows))[:1], row[1:]
                if sign != b"\\":  # "No newline at end of file"
                    lines.append((old if sign == b"-" else new, _text(text)))
                    old, new = old + (sign != b"+"), new + (sign != b"-")
        elif re.fullmatch(rb"(literal|delta) \d+", row):
            content = zlib.decompress(b"".join(_unpacked(line) for line in iter(lambda: next(rows), b"")))
            for form in (content, content.replace(b"\0", b"")):  # the second: text in UTF-16
                lines += [(0, text) for text in _text(form).splitlines()]
    if header is not None:
        yield header, lines


def _unpacked(line: bytes) -> bytes:
    """A line of git's binary patch: its length as a letter (A is 1, a is 27), then base 85."""
    length = line[0] - 64 if line[:1].isupper() else line[0] - 70
    return base64.b85decode(line[1:])[:length]


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def _pieces(text: str) -> Iterator[str]:
    """A line whole, or in pieces that overlap; a piece keeps the line's allowlist comment."""
    if len(text) <= LINE:
        yield text
        return
    comment = re.search(r"(?:#|//|--)[ \t]*pragma: ?(?:allow|white)list[ -]secret.{0,200}$", text[-OVERLAP:])
    for start in range(0, len(text), LINE - OVERLAP):
        yield text[start : start + LINE] + (f"  {comment[0]}" if comment else "")
