"""What a question needs of a model, where nothing else would do."""

from plimsoll_model_router.domain.endpoints import Feature
from plimsoll_model_router.domain.generation import Question
from plimsoll_model_router.domain.messages import Media


def needed(question: Question) -> frozenset[Feature]:
    """The features without which the question cannot be asked; whatever else a model lacks is converted and told."""
    media = [part.media_type for message in question.messages for part in message.parts if isinstance(part, Media)]
    found = {Feature.IMAGES if kind.startswith("image/") else Feature.DOCUMENTS for kind in media}
    if question.tools:
        found.add(Feature.TOOLS)
    return frozenset(found)
