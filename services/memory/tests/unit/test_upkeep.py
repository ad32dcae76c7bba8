"""What upkeep does next, as a pure decision; and what is learned, judged and believed."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_samples import NOON
from plimsoll_memory.adapters.sentence_transformer import (
    CrossEncoderReranker,
    SentenceTransformerEmbedder,
    TransformersMissing,
    load_encoder,
    load_pair_scorer,
)
from plimsoll_memory.adapters.vectors import EmbedderDiffers, checked
from plimsoll_memory.domain.conversation import NO_SUMMARY, Origin, Saying, Summary, Turn, tokens_of
from plimsoll_memory.domain.learning import learn
from plimsoll_memory.domain.proximity import judge
from plimsoll_memory.domain.summary import extend, shorten
from plimsoll_memory.domain.upkeep import Begin, CollectionState, Fill, Index, Learn, Rest, Rules, Step, Unindex, next_step

RULES = Rules(learn_from=100, index_from=1000)
YOUNG = CollectionState(
    embedder="hashing-384-v1", target="latent-128-v1", next_embedder="", generation=0, learned_from=0, chunks=10, indexed=""
)
LEARNED = replace(YOUNG, embedder="latent-128-v1.1", generation=1, learned_from=100, chunks=150)


@pytest.mark.parametrize(
    ("state", "step"),
    [
        (YOUNG, Rest()),
        (replace(YOUNG, chunks=100), Learn("latent-128-v1.1")),
        (replace(YOUNG, chunks=100, next_embedder="latent-128-v1.1", learned_from=100, generation=1), Fill("latent-128-v1.1")),
        (LEARNED, Rest()),
        (replace(LEARNED, chunks=200), Learn("latent-128-v1.2")),
        (replace(LEARNED, embedder="hashing-384-v1"), Learn("latent-128-v1.2")),
        (replace(LEARNED, chunks=1000, learned_from=900), Index("latent-128-v1.1")),
        (replace(LEARNED, chunks=1000, learned_from=900, indexed="latent-128-v1.1"), Rest()),
        (replace(LEARNED, chunks=499, learned_from=900, indexed="latent-128-v1.1"), Unindex()),
        (replace(LEARNED, target="router:e-3"), Begin("router:e-3")),
        (replace(LEARNED, target="router:e-3", next_embedder="router:e-3"), Fill("router:e-3")),
        (replace(LEARNED, target="router:e-3", embedder="router:e-3"), Rest()),
        (replace(YOUNG, target="", chunks=5000), Index("hashing-384-v1")),
    ],
)
def test_one_step_at_a_time_and_what_was_begun_first(state: CollectionState, step: Step) -> None:
    assert next_step(state, RULES) == step


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_a_collection_comes_to_rest(chunks: int, learned_from: int) -> None:
    state = replace(LEARNED, chunks=chunks, learned_from=learned_from)
    for _ in range(6):
        match next_step(state, RULES):
            case Learn(name) | Begin(name):
                state = replace(state, next_embedder=name, generation=state.generation + 1, learned_from=chunks)
            case Fill(name):
                state = replace(state, embedder=name, next_embedder="")
            case Index(name):
                state = replace(state, indexed=name)
            case Unindex():
                state = replace(state, indexed="")
            case Rest():
                return
    pytest.fail("it never rests")


class TestLearning:
    @pytest.mark.parametrize(
        ("text", "attribute"),
        [
            ("My name is Ada.", "name"),
            ("Call me Ada.", "name"),
            ("My e-mail is ada@example.org.", "email"),
            ("my order number is 4711", "order number"),
            ("I live in Oslo.", "home"),
            ("I moved to Rome last week.", "home"),
            ("I work for the harbour office.", "employer"),
            ("I prefer tea.", ""),
            ("I'm allergic to nuts.", ""),
        ],
    )
    def test_what_a_person_states_is_a_fact(self, text: str, attribute: str) -> None:
        (claim,) = learn([Saying(origin=Origin.USER, text=f"Hello! {text}")], [])
        assert (claim.attribute, claim.text, claim.saying) == (attribute, text, 1)

    @pytest.mark.parametrize(
        "text",
        [
            "Where is my parcel?",
            "My question is simple.",
            "> My name is Bob.",
            "Is my name Ada?",
            "I need help.",
            "",
            "My name is " + "x" * 300,
        ],
    )
    def test_questions_quotes_and_passing_things_are_not(self, text: str) -> None:
        assert not learn([Saying(origin=Origin.USER, text=text)], [])

    @given(st.text(st.characters(exclude_characters="\x00"), max_size=500))
    def test_any_text_is_borne(self, text: str) -> None:
        for claim in learn([Saying(origin=Origin.USER, text=text)], [text[:20]]):
            assert claim.text in text


class TestSummary:
    def turns(self, *texts: str) -> list[Turn]:
        return [
            Turn(number=at, origin=Origin.USER, text=text, tokens=tokens_of(text), work=None, created_at=NOON)
            for at, text in enumerate(texts, 1)
        ]

    def test_it_quotes_in_order_within_its_length(self) -> None:
        said = self.turns(*(f"The parcel number {number} waits in the harbour of Oslo." for number in range(100)))
        made = extend(NO_SUMMARY, said, through=100, length=400)
        lines = made.text.split("\n")
        assert len(made.text) <= 400
        assert lines == sorted(lines, key=lambda line: int(line.split("number ")[1].split()[0]))
        assert all(line.startswith("user: The parcel") for line in lines)
        assert (made.through, made.made_by) == (100, "extractive-1")

    def test_instructions_and_recalled_text_stay_out(self) -> None:
        (turn,) = self.turns("Never tell the secret code to anybody at all.")
        hidden = [replace(turn, origin=Origin.SYSTEM), replace(turn, origin=Origin.RECALLED)]
        assert extend(NO_SUMMARY, hidden, through=2).text == ""

    def test_shorter_is_a_part_of_it_and_nothing_is_nothing(self) -> None:
        whole = Summary(text="user: one two three four\nuser: five six seven eight", through=2, made_by="x")
        assert shorten(whole, 1000) == whole
        short = shorten(whole, 30)
        assert short is not None
        assert short.text in whole.text.split("\n")
        assert shorten(NO_SUMMARY, 100) is None


class TestProximity:
    def test_words_that_stand_together_beat_words_that_are_far_apart(self) -> None:
        far = "refund policy of the house, much more about cards, shipping, prices, returns, gifts and at the very end a limit"
        near = "policy of the house, much more about cards, shipping, prices, returns, gifts and at the very end a refund limit"
        assert judge("refund limit", [far, near])[1] > judge("refund limit", [far, far])[1]

    def test_what_says_nothing_keeps_its_order(self) -> None:
        scores = judge("tea", ["a", "b", "c"])
        assert list(scores) == sorted(scores, reverse=True)
        assert judge("", ["a"])
        assert list(judge("tea", [])) == []


class TestVectorsOfOthers:
    def test_they_come_to_length_one(self) -> None:
        (vector,) = checked("e", [[3.0, 4.0]], 1, 0)
        assert list(vector) == pytest.approx([0.6, 0.8])

    @pytest.mark.parametrize(
        ("vectors", "count", "dimensions"),
        [([[1.0]], 2, 0), ([[1.0, 0.0], [1.0]], 2, 0), ([[1.0]], 1, 2), ([[]], 1, 0), ([[float("nan")]], 1, 0), ([[1.0] * 4001], 1, 0)],
    )
    def test_what_cannot_be_of_its_name_is_refused(self, vectors: Sequence[Iterable[float]], count: int, dimensions: int) -> None:
        with pytest.raises(EmbedderDiffers):
            checked("e", vectors, count, dimensions)


class Letters:
    """An encoder that counts letters."""

    def encode(self, sentences: list[str]) -> list[list[float]]:
        return [[float(one.count(letter)) for letter in "abc"] for one in sentences]

    def predict(self, sentences: list[tuple[str, str]]) -> list[float]:
        return [float(text.count(query)) for query, text in sentences]


class TestTransformers:
    async def test_a_model_is_loaded_once_and_by_its_name(self) -> None:
        loaded: list[str] = []

        def load(name: str) -> Letters:
            loaded.append(name)
            return Letters()

        embedder = SentenceTransformerEmbedder("sentence-transformers:letters", load)
        assert [list(one) for one in await embedder.embed_passages(["aa", "b"])] == [[1, 0, 0], [0, 1, 0]]
        assert list(await embedder.embed_query("c")) == [0, 0, 1]
        reranker = CrossEncoderReranker("cross-encoder:letters", load)
        assert list(await reranker.rerank("a", ["aaa", "b"])) == [3, 0]
        assert loaded == ["letters", "letters"]

    async def test_without_the_extra_it_says_so(self) -> None:
        with pytest.raises(TransformersMissing):
            await SentenceTransformerEmbedder("sentence-transformers:none", load_encoder).embed_query("a")
        with pytest.raises(TransformersMissing):
            await CrossEncoderReranker("cross-encoder:none", load_pair_scorer).rerank("a", ["b"])
