"""PDF as text and blocks, page by page. Runs in the reader's child process only: a PDF may be made to harm its reader."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO

from pypdf import PasswordType, PdfReader
from pypdf.errors import FileNotDecryptedError

from plimsoll_memory.domain import plain
from plimsoll_memory.domain.block import Block
from plimsoll_memory.domain.media import clean
from plimsoll_memory.domain.reading import Parsed
from plimsoll_memory.errors import DamagedDocument, DocumentTooLarge, EncryptedDocument

_BETWEEN_PAGES = "\n\n"


def parse_pdf(content: bytes, *, most_pages: int) -> Parsed:
    """The text of every page. Raises DamagedDocument, EncryptedDocument or DocumentTooLarge."""
    logging.getLogger("pypdf").disabled = True  # it comments on every flaw of the file
    try:
        return _parse(content, most_pages)
    except FileNotDecryptedError as error:
        raise EncryptedDocument("needs a password", "send it without one") from error
    except (DamagedDocument, EncryptedDocument, DocumentTooLarge, MemoryError):
        raise
    except Exception as error:  # a broken file can raise anything out of the library
        raise DamagedDocument(f"is not a readable PDF: {str(error)[:200] or type(error).__name__}", "save or export it anew") from error


def _parse(content: bytes, most_pages: int) -> Parsed:
    reader = PdfReader(BytesIO(content), strict=False)
    if reader.is_encrypted and reader.decrypt("") is PasswordType.NOT_DECRYPTED:
        raise EncryptedDocument("needs a password", "send it without one")
    count = len(reader.pages)
    if count > most_pages:
        raise DocumentTooLarge(f"has {count:,} pages; the limit is {most_pages:,}", "split it into several documents")
    title = str(reader.metadata.title or "") if reader.metadata else ""
    pages = [clean(page.extract_text()) for page in reader.pages]
    return Parsed(title=" ".join(clean(title).split()), text=_BETWEEN_PAGES.join(pages), blocks=tuple(_blocks(pages)))


def _blocks(pages: list[str]) -> Iterator[Block]:
    at = 0
    for number, page in enumerate(pages, 1):
        for block in plain.paragraphs(page, page=number):
            yield replace(block, start=at + block.start, end=at + block.end)
        at += len(page) + len(_BETWEEN_PAGES)
