"""The rehearsal model learns labels from their meanings and from examples, and knows how sure it is."""

import random
import threading

from hypothesis import given
from hypothesis import strategies as st
from plimsoll_model_router.domain.rehearsal.classify import Classifier, Label
from plimsoll_model_router.domain.rehearsal.fits import Fits

LABELS = (
    Label(name="delivery", description="where a parcel is, late or missing, tracking"),
    Label(name="refund", description="wants money back, was charged wrongly"),
    Label(name="account", description="cannot sign in, password, change of address"),
)
EXAMPLES = [
    ("Where is my package? It should have been here on Monday.", 0),
    ("The courier says delivered but I have nothing", 0),
    ("Please pay me back for the cracked helmet", 1),
    ("I was charged twice for one pump", 1),
    ("I forgot my password and the reset mail never comes", 2),
    ("How do I change the e-mail of my login?", 2),
]
UNSEEN = [
    ("my packages have not been delivered yet", 0),
    ("you charged my card two times", 1),
    ("the password reset does not work", 2),
    ("when will the courier come with my package", 0),
    ("I want you to pay me back", 1),
]


def test_meanings_alone_are_enough_for_plain_cases() -> None:
    classifier = Classifier(LABELS, [])
    assert classifier.choose("my parcel is late").label == 0
    assert classifier.choose("I want my money back").label == 1
    assert classifier.choose("I cannot sign in").label == 2


def test_examples_make_it_better() -> None:
    def right(examples: list[tuple[str, int]]) -> int:
        bare = Classifier([Label(name=name) for name in ("a", "b", "c")], examples)
        return sum(bare.choose(text).label == label for text, label in UNSEEN)

    assert right(EXAMPLES[::2]) < right(EXAMPLES) == len(UNSEEN)


def test_it_is_sure_of_what_it_was_shown_and_unsure_of_what_it_does_not_know() -> None:
    classifier = Classifier(LABELS, EXAMPLES)
    assert classifier.choose("I was charged twice for one pump").confidence > 0.8
    assert classifier.choose("zxqv wkrp").confidence < 0.05
    assert classifier.choose("").confidence < 0.05


def test_the_shares_of_all_labels_are_a_distribution_less_what_is_unknown() -> None:
    shares = Classifier(LABELS, EXAMPLES).shares("charged twice, and where is my parcel")
    assert 0 < sum(shares) <= 1
    assert all(share >= 0 for share in shares)


@given(st.text(max_size=60))
def test_the_same_question_gets_the_same_answer_whatever_it_is(text: str) -> None:
    one, other = Classifier(LABELS, EXAMPLES).choose(text), Classifier(LABELS, EXAMPLES).choose(text)
    assert one == other
    assert 0 <= one.confidence <= 1


def test_a_context_is_learned_once_and_the_oldest_is_forgotten() -> None:
    fits = Fits(capacity=500)
    first = fits.classifier(LABELS, EXAMPLES)
    assert fits.classifier(LABELS, EXAMPLES) is first
    assert fits.classifier(LABELS, EXAMPLES[:-1]) is not first
    dice = random.Random(1)
    for number in range(20):
        words = [("".join(dice.choices("abcdefgh", k=6)), 0) for _ in range(30)]
        fits.classifier([Label(name=f"label {number}")], words)
    assert fits.classifier(LABELS, EXAMPLES) is not first


def test_threads_may_share_what_was_learned() -> None:
    fits, found = Fits(capacity=2000), list[int]()

    def work() -> None:
        found.extend(fits.classifier(LABELS, EXAMPLES[: 1 + number % 6]).choose("charged twice").label for number in range(50))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 200
