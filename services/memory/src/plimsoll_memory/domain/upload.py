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
