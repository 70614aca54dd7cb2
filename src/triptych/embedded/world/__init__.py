"""The drawn world that the embedded models know: scenes, pictures of them, captions, questions and exact answers.

Pure Pillow and numpy, deterministic from a seed:

    rng = numpy.random.default_rng(7)
    scene = sample_objects(rng)
    image = draw(scene, sample_style(rng))
    caption(scene), sample_question(rng, scene)

`evaluate` marks anything that answers questions about pictures.
"""

from triptych.embedded.world.captions import caption, same_caption
from triptych.embedded.world.draw import Style, draw, sample_style
from triptych.embedded.world.evaluate import Exam, evaluate, evaluate_sums, exams, sums
from triptych.embedded.world.offtopic import REFUSAL, SUMS_REFUSAL
from triptych.embedded.world.questions import Question, sample_question
from triptych.embedded.world.scene import COLORS, SHAPES, SIZES, Numeral, Scene, Thing, sample_number, sample_objects

__all__ = [
    "COLORS",
    "REFUSAL",
    "SHAPES",
    "SIZES",
    "SUMS_REFUSAL",
    "Exam",
    "Numeral",
    "Question",
    "Scene",
    "Style",
    "Thing",
    "caption",
    "draw",
    "evaluate",
    "evaluate_sums",
    "exams",
    "same_caption",
    "sample_number",
    "sample_objects",
    "sample_question",
    "sample_style",
    "sums",
]
