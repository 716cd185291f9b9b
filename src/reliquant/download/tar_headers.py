"""Headers of a tar that is not trusted: what they declare is compared with limits before it is read.

A tar may say that a name, or the list of a sparse file's parts, is gigabytes long, and Python's tarfile reads it whole.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from reliquant.files.bounded import require

LONGEST = {  # bytes of a header that extends the next one
    **dict.fromkeys((tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK), 2**16),
    **dict.fromkeys((tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE), 2**20),
    tarfile.XGLTYPE: 2**16,  # which Python copies for each member
}
LARGEST = 2**60  # bytes of a member, less than what a place in a file can be
MOST = 16  # headers that extend one member; tar writes two or three
NAMES = {"L": "name", "K": "link's name", "x": "extended header", "X": "extended header", "g": "global header"}


class Header(tarfile.TarInfo):
    """A member that is refused where its header extends itself without measure (TooMuch), or is sparse (ReadError)."""

    _chained: ClassVar[WeakKeyDictionary[tarfile.TarFile, int]] = WeakKeyDictionary()  # headers before a member

    def _proc_member(self, tar: tarfile.TarFile) -> Any:  # what tarfile calls for each header that it has parsed
        if self.type not in LONGEST:
            self._chained[tar] = 0
        else:
            self._chained[tar] = self._chained.get(tar, 0) + 1
            if self._chained[tar] > MOST:
                raise tarfile.ReadError(f"more than {MOST} headers that extend one another, at byte {self.offset}")
            what = NAMES[self.type.decode()]
            require(
                f"{tar.name!s}: at byte {self.offset}", f"bytes of a member's {what}", self.size, LONGEST[self.type]
            )
        if self.type == tarfile.GNUTYPE_SPARSE:
            self._proc_gnusparse_00()
        self._check_size(self.size)
        member = super()._proc_member(tar)  # type: ignore[misc]
        self._check_size(member.size)  # which an extended header may have changed
        return member

    def _check_size(self, size: int) -> None:
        if not 0 <= size < LARGEST:
            raise tarfile.ReadError(f"a member of a size that no file has, at byte {self.offset}")

    def _proc_gnusparse_00(self, *_: object) -> None:
        raise tarfile.ReadError(f"a sparse member, at byte {self.offset}: make the tar without --sparse")

    _proc_gnusparse_01 = _proc_gnusparse_10 = _proc_gnusparse_00  # what tarfile calls for the other kinds of them


def members(tar: tarfile.TarFile, /) -> Iterator[tarfile.TarInfo]:
    """Yield the members of a tar that was opened with `tarinfo=Header`, and keep none of them.

    Raises TooMuch naming the tar where a header declares too much, and tarfile.ReadError as `Header` does.
    """
    while (member := tar.next()) is not None:
        yield member
        tar.members.clear()  # type: ignore[attr-defined]
