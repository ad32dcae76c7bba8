"""Learning facts from what a person says about themselves: by fixed rules, without a model, each fact a sentence that was said."""

import re
from collections.abc import Iterator, Sequence

from plimsoll_memory.domain.conversation import NEVER_LEARNED, Claim, Origin, Saying, canonical_words

_MOST = 20  # of one request
_LONGEST = 240  # characters of a sentence
_SENTENCE = re.compile(r"[^.!?\n]+(?:\.(?=\w)[^.!?\n]+)*[.!?]?")  # a dot inside an address does not end it
_ATTRIBUTES = {
    "e-mail": "email",
    "e-mail address": "email",
    "email address": "email",
    "mail address": "email",
    "phone number": "phone",
    "telephone number": "phone",
    "first name": "name",
    "full name": "name",
}
# (pattern, attribute): the attribute of a "my … is" is the words between.
_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\bmy ((?:[a-z-]+ ){0,2}[a-z-]+) (?:is|was changed to|has changed to|is now) \S", re.IGNORECASE), ""),
    (re.compile(r"\b(?:call me|i am called|i'm called) \S", re.IGNORECASE), "name"),
    (re.compile(r"\bi (?:now )?live (?:in|at) \S", re.IGNORECASE), "home"),
    (re.compile(r"\bi (?:moved|have moved|'ve moved) to \S", re.IGNORECASE), "home"),
    (re.compile(r"\bi (?:now )?work (?:at|for) \S", re.IGNORECASE), "employer"),
)
# Facts that stand beside each other.
_OPEN = re.compile(
    r"\bi (?:(?:really |always |never |do not |don't )?(?:prefer|like|love|hate|dislike|use|speak|own)) \S"
    r"|\b(?:i am|i'm) (?:allergic to|intolerant to|a vegetarian|vegetarian|vegan)\b",
    re.IGNORECASE,
)
_PASSING = frozenset({"question", "problem", "issue", "concern", "guess", "point", "understanding", "plan", "idea", "answer", "apology"})


def learn(sayings: Sequence[Saying], known: Sequence[str]) -> Sequence[Claim]:
    """What the user states about themselves in these sayings. `known` are texts out of memory: what repeats them teaches nothing."""
    told = [canonical_words(saying.text) for saying in sayings if saying.origin in NEVER_LEARNED]
    told += [canonical_words(text) for text in known]
    claims: dict[tuple[str, str], Claim] = {}
    for at, saying in enumerate(sayings, 1):
        if saying.origin is Origin.USER:
            for attribute, sentence in _stated(saying.text):
                words = canonical_words(sentence)
                if not any(words in text for text in told):
                    key = (attribute, "" if attribute else words)
                    claims[key] = Claim(subject="", attribute=attribute, text=sentence, origin=Origin.USER, saying=at)
    return list(claims.values())[:_MOST]


def _stated(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        if line.lstrip().startswith((">", "|", "`")):
            continue  # quoted, a table, code: somebody else's words
        for match in _SENTENCE.finditer(line):
            sentence = match[0].strip()
            if len(sentence) <= _LONGEST and not sentence.endswith("?"):
                found = _attribute(sentence)
                if found is not None:
                    yield found, sentence


def _attribute(sentence: str) -> str | None:
    for pattern, attribute in _RULES:
        if match := pattern.search(sentence):
            named = attribute or " ".join(match[1].casefold().split())
            if named.split()[-1] in _PASSING:
                return None
            return _ATTRIBUTES.get(named, named)
    return "" if _OPEN.search(sentence) else None
