"""The one true caption of a scene, and how near a written caption comes to it."""

from __future__ import annotations

from triptych.embedded.world.scene import Scene, Thing, clear_direction

CAPTION_REQUESTS = (
    "Describe this image.",
    "Describe the image.",
    "Describe the picture.",
    "Describe this picture in one sentence.",
    "Describe the image in detail.",
    "Please describe this image.",
    "Please describe the picture in detail.",
    "Can you describe this image?",
    "Could you describe what is in the picture?",
    "What is shown in this image?",
    "What is in this image?",
    "What's in this image?",
    "What is in the picture?",
    "What's in the picture?",
    "What is this?",
    "What do you see?",
    "What can you see in this picture?",
    "What do you see in the image?",
    "What does the picture show?",
    "What does this image show?",
    "What is drawn here?",
    "What is depicted in this image?",
    "Tell me what is in the image.",
    "Tell me what you see.",
    "Tell me about this image.",
    "Caption this image.",
    "Caption this.",
    "Write a caption for this image.",
    "Write a short caption.",
    "Give me a caption.",
    "Give a short description of the image.",
    "Provide a one-sentence caption for the provided image.",
    "Provide a short description of this drawing.",
    "Write alt text for this image.",
    "Generate a caption for the image.",
    "Summarize the image.",
    "Explain what is in this picture.",
    "describe",
    "describe it",
    "caption",
    "What are we looking at?",
    "What is going on in this picture?",
    "List the objects in the image.",
    "Name everything in the picture.",
)

EMPTY = "an empty picture"
_PHRASE = {"left": "to the left of", "above": "above"}


def describe(thing: Thing) -> str:
    """Name an object: size, colour, shape."""
    return f"a {thing.size} {thing.color} {thing.shape}"


def join(names: list[str]) -> str:
    """Join names as people do: a; a and b; a, b and c."""
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def caption(scene: Scene) -> str:
    """Return the caption of a scene; two objects get their relation, more are listed from left to right."""
    if scene.numeral is not None:
        return f"the handwritten number {scene.numeral.text}"
    things = sorted(scene.things, key=lambda thing: thing.x)
    if not things:
        return EMPTY
    if len(things) != 2:
        return join([describe(thing) for thing in things])
    first, second = things
    direction = clear_direction(first, second)
    if direction in ("below", "right"):
        first, second = second, first
        direction = clear_direction(first, second)
    if direction is None:
        return join([describe(first), describe(second)])
    return f"{describe(first)} {_PHRASE[direction]} {describe(second)}"


def same_caption(answer: str, scene: Scene) -> bool:
    """Whether `answer` names everything truly. The order of three or more objects does not matter, all else does."""
    answer = answer.strip()
    truth = caption(scene)
    if answer == truth:
        return True
    if len(scene.things) < 3:
        return False
    return sorted(answer.replace(" and ", ", ").split(", ")) == sorted(truth.replace(" and ", ", ").split(", "))
