"""Which version this is: of the release, and of the source it was made from."""

from __future__ import annotations

from pathlib import Path

VERSION = "0.1.0"

_PACKAGE = Path(__file__).resolve().parent


def revision(package: Path = _PACKAGE) -> str:
    """The commit: from `exporter/REVISION`, which an image build writes, else of the checkout.

    `unknown` where there is neither, as in a wheel.
    """
    try:
        return (package / "REVISION").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        pass
    try:
        return _head_of(package.parent / ".git")
    except (OSError, ValueError):
        return "unknown"


def _head_of(git: Path) -> str:
    """What HEAD points at, read as git stores it: running git would cost more than the answer."""
    if git.is_file():  # a worktree: `gitdir: PATH`
        git = (
            git.parent / git.read_text(encoding="utf-8").strip().removeprefix("gitdir: ")
        ).resolve()
    head = (git / "HEAD").read_text(encoding="utf-8").strip()
    name = head.removeprefix("ref: ")
    if name == head:
        return head or "unknown"
    common = git / "commondir"
    if common.is_file():
        git = (git / common.read_text(encoding="utf-8").strip()).resolve()
    loose = git / name
    if loose.is_file():
        return loose.read_text(encoding="ascii").strip()
    for line in (git / "packed-refs").read_text(encoding="utf-8").splitlines():
        commit, _, packed = line.partition(" ")
        if packed == name:
            return commit
    return "unknown"
