"""Choices as plain JSON, for what is kept."""

from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_model_router.domain.choice import Choice


def choice_to_plain(choice: Choice) -> JsonObject:
    """The choice with its candidates and probabilities: enough to judge it afterwards."""
    listed: list[JsonValue] = [
        {
            "provider": one.candidate.model.provider,
            "model": one.candidate.ask_for,
            "probability": round(one.probability, 6),
            "excluded": one.excluded.reason if one.excluded is not None else "",
            "quality": one.candidate.quality,
            "latency_s": round(one.latency_s, 4) if one.latency_s is not None else 0.0,
        }
        for one in choice.weighed
    ]
    return {
        "route": choice.route,
        "route_digest": choice.route_digest,
        "difficulty": round(choice.difficulty, 4),
        "sticky": choice.sticky,
        "candidates": listed,
    }
