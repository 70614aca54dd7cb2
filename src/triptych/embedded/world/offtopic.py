"""Requests that the drawn world has no answer to, and the two honest refusals."""

from __future__ import annotations

import numpy as np

REFUSAL = "I only know drawings of simple shapes and handwritten numbers."
SUMS_REFUSAL = "I only know sums and differences of whole numbers up to 99."

_TOPICS = (
    "the weather", "Paris", "France", "the moon", "dogs", "a cat", "my house", "love", "the sea", "music",
    "football", "the president", "coffee", "history", "a train", "Python", "the stock market", "quantum physics",
    "a birthday party", "my mother", "cooking rice", "the Roman Empire", "electric cars", "tomatoes",
    "Shakespeare", "Japan", "a good book", "climate change", "the human heart", "war", "a poem", "bread", "spring",
    "money", "a vacation in Italy", "the meaning of life", "neural networks", "an old friend", "winter", "Berlin",
    "a dragon", "the king of Spain", "gardening", "space travel", "a bicycle", "chess", "the news", "health",
    "Mozart",
)  # fmt: skip
_FORMS = (
    "Tell me about {0}.", "What do you know about {0}?", "Write a poem about {0}.", "Write a story about {0}.",
    "Explain {0}.", "What is {0}?", "Who invented {0}?", "Why is {0} important?", "How does {0} work?",
    "Do you like {0}?", "Where is {0}?", "Give me three facts about {0}.", "What is the best thing about {0}?",
    "Translate {0} into German.", "When was {0} made?", "Summarize {0}.", "Can you help me with {0}?",
    "Write an email about {0}.", "Is {0} good?", "What is the history of {0}?", "Tell me a joke about {0}.",
    "How much does {0} cost?", "Compare {0} and {1}.", "I want to talk about {0}.", "{0}",
    "Write a function that prints {0}.", "Sing a song about {0}.", "What would happen without {0}?",
    "Who likes {0}?",
)  # fmt: skip
_FIXED = (
    "Hello", "Hello!", "Hi", "Hi there!", "Hey", "Good morning", "How are you?", "How are you doing today?",
    "Who are you?", "What is your name?", "What can you do?", "Thank you", "Thanks!", "Help", "Help me",
    "Tell me a joke.", "What time is it?", "What day is it?", "What is the capital of France?",
    "What is the capital of Germany?", "Who is the president?", "Goodbye", "Write a haiku.", "Write a poem.",
    "Write some code.", "What is the weather like?", "Is it raining?", "Are you human?", "Who made you?",
    "Translate this to French.", "What is the meaning of life?", "Sing a song.", "Say something.", "Why?",
    "Really?", "Where am I?", "How old are you?", "Do you speak German?", "Test", "test", "ping", "ok", "yes",
    "no", "Say hello.", "Hallo", "Say hi", "Count to ten.", "List the planets.", "Write a limerick.", "What's up?",
    "Tell me a story.", "Once upon a time", "The quick brown fox jumps over the lazy dog.",
    "Lorem ipsum dolor sit amet", "Repeat after me: banana.", "What is love?", "How do I bake a cake?",
    "Give me a recipe.", "Recommend a movie.", "Bonjour", "Hola", "Return a JSON object.",
)  # fmt: skip
_ABOUT_PICTURES = (
    "Who is in the picture?", "Where was this photo taken?", "Who took this photo?",
    "Is there a person in the image?", "What is the man doing?", "What is the woman wearing?",
    "How many people are there?", "What brand is the car?", "What animal is this?", "Is there a dog?",
    "Is there a cat in the picture?", "What time of day is it?", "What is the mood?", "Who painted this?",
    "What is the weather in the picture?", "What breed is the dog?", "What country is this?",
    "What is the person holding?", "Is the man smiling?", "What kind of food is this?",
    "What does the sign say about the road?", "What emotion does this convey?", "What camera was used?",
    "What year was this taken?", "Is it safe to eat?",
)  # fmt: skip
_SYLLABLES = (
    "ka",
    "mo",
    "ri",
    "ten",
    "lu",
    "sha",
    "ber",
    "no",
    "vi",
    "gra",
    "pel",
    "do",
    "zu",
    "fi",
    "ark",
    "on",
    "is",
    "et",
    "qua",
    "y",
)


def _made_up(rng: np.random.Generator) -> str:
    words = []
    for _ in range(int(rng.integers(1, 8))):
        words.append("".join(_SYLLABLES[int(rng.integers(len(_SYLLABLES)))] for _ in range(int(rng.integers(1, 4)))))
    return " ".join(words) + str(rng.choice(["", "?", ".", "!"]))


def sample_offtopic(rng: np.random.Generator, about_pictures: bool = True) -> str:
    """Draw a request that the drawn world has no answer to. `about_pictures` includes questions about photographs."""
    roll = rng.random()
    if roll < 0.3:
        text = _FIXED[int(rng.integers(len(_FIXED)))]
    elif roll < 0.45:
        return _made_up(rng)
    elif roll < 0.65 and about_pictures:
        text = _ABOUT_PICTURES[int(rng.integers(len(_ABOUT_PICTURES)))]
    else:
        form = _FORMS[int(rng.integers(len(_FORMS)))]
        first, second = rng.permutation(len(_TOPICS))[:2]
        text = form.format(_TOPICS[first], _TOPICS[second])
    if rng.random() < 0.2:
        text = text.rstrip("?.!")
    if rng.random() < 0.2:
        text = text.lower()
    return text or "Hello"
