"""What this service refuses and why.

Invalid
├── RequestRefused         a field of the request breaks its rule
└── DocumentRefused        the document cannot be read
    ├── EmptyDocument
    ├── DocumentTooLarge
    ├── UnknownMediaType
    ├── BinaryContent      claims to be text and is not
    ├── UndecodableText
    ├── MalformedRecord    a line of JSON lines, a row of CSV
    ├── DamagedDocument
    ├── EncryptedDocument
    ├── NoText             nothing to read in it: blank, or pictures only
    ├── TooManyPassages
    └── TooHardToRead      reading took more time or memory than allowed
NotFound
├── CollectionNotFound
├── DocumentNotFound
├── QuerySetNotFound
└── SearchNotFound         also when it is older than a week
Conflict
├── EmbedderMissing        the collection holds vectors of an embedder that is not configured
├── CollectionChanged      somebody created the collection otherwise a moment ago, or another embedder serves by now
├── KeyReused              a key of remembering came again with something else
└── UploadSuperseded       another upload of the same source has begun meanwhile, or the document was deleted
"""

from plimsoll_runtime.errors import Conflict, FieldProblem, Invalid, NotFound


class RequestRefused(Invalid):
    """A field of the request breaks its rule."""

    reason = "INVALID_REQUEST"


class DocumentRefused(Invalid):
    """The document cannot be read."""

    reason = "DOCUMENT_REFUSED"

    def __init__(self, problem: str, remedy: str, *, field: str = "content") -> None:
        super().__init__(problems=(FieldProblem(field, problem, remedy),), remedy=remedy)


class EmptyDocument(DocumentRefused):
    """The document has no content."""

    reason = "EMPTY_DOCUMENT"


class DocumentTooLarge(DocumentRefused):
    """The document is larger than the limit."""

    reason = "DOCUMENT_TOO_LARGE"


class UnknownMediaType(DocumentRefused):
    """No reader knows this media type."""

    reason = "UNKNOWN_MEDIA_TYPE"


class BinaryContent(DocumentRefused):
    """The content is not text, whatever its media type says."""

    reason = "BINARY_CONTENT"


class UndecodableText(DocumentRefused):
    """The bytes are not text in the encoding they claim."""

    reason = "UNDECODABLE_TEXT"


class MalformedRecord(DocumentRefused):
    """A line or row breaks the format."""

    reason = "MALFORMED_RECORD"


class DamagedDocument(DocumentRefused):
    """The document's format is broken."""

    reason = "DAMAGED_DOCUMENT"


class EncryptedDocument(DocumentRefused):
    """The document needs a password."""

    reason = "ENCRYPTED_DOCUMENT"


class NoText(DocumentRefused):
    """The document has no text to read."""

    reason = "NO_TEXT"


class TooManyPassages(DocumentRefused):
    """The document falls into more passages than the limit."""

    reason = "TOO_MANY_PASSAGES"


class TooHardToRead(DocumentRefused):
    """Reading the document took more time or memory than allowed."""

    reason = "TOO_HARD_TO_READ"


class CollectionNotFound(NotFound):
    """There is no such collection."""

    reason = "COLLECTION_NOT_FOUND"


class DocumentNotFound(NotFound):
    """There is no such document in the collection."""

    reason = "DOCUMENT_NOT_FOUND"


class QuerySetNotFound(NotFound):
    """There is no such query set."""

    reason = "QUERY_SET_NOT_FOUND"


class SearchNotFound(NotFound):
    """There is no such search."""

    reason = "SEARCH_NOT_FOUND"


class EmbedderMissing(Conflict):
    """The collection holds vectors of an embedder that is not configured."""

    reason = "EMBEDDER_MISSING"


class CollectionChanged(Conflict):
    """The collection was created with another embedder or language meanwhile; send the document again."""

    reason = "COLLECTION_CHANGED"


class KeyReused(Conflict):
    """The key stored something else before."""

    reason = "KEY_REUSED"


class UploadSuperseded(Conflict):
    """Another upload of the same source has begun meanwhile, or the document was deleted: what came before counts no more."""

    reason = "UPLOAD_SUPERSEDED"
