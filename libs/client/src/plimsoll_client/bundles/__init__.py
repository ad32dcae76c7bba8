"""An agent as a directory: `read_bundles` finds every mistake in it, `apply` brings it into a mesh; both leave the rest alone."""

from plimsoll_client.bundles.applying import Applied, apply
from plimsoll_client.bundles.reading import Bundle, KnowledgeFile, PromptFile, find_bundles, read_bundles

__all__ = ["Applied", "Bundle", "KnowledgeFile", "PromptFile", "apply", "find_bundles", "read_bundles"]
