"""Uploads that can be gone on with: which bytes they are of, and how far they got."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadKey:
    """`key` names the bytes; another key under the same source is another upload, in the place of the old one."""

    collection: str
    source: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How much is stored for good: bytes, parts, passages, and how many parts were new; `head` begins every part."""

    stored: int = 0
    parts: int = 0
    chunks: int = 0
    changed: int = 0
    head: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """An upload as it is when somebody begins it or goes on with it; `held` counts the bytes behind the mark that wait for their part,
    `done` says that it came to its end."""

    mark: Mark = field(default_factory=Mark)
    held: int = 0
    done: bool = False

    @property
    def expected(self) -> int:
        """Where the next content begins."""
        return self.mark.stored + self.held
