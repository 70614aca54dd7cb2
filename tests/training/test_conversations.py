"""Packed training is exact: a packed answer is scored as if its prompt stood alone, written as the chat template
writes it.
"""

import random

import numpy as np
import pytest
import torch
from training import shapes
from training.chat import Form
from training.export import write_llava, write_mixtral
from training.llava import Row, Student, exact_segments, forward
from training.mixtral import batches, conversation
from training.network import Decoder
from training.prepare import padded_view
from training.render import make_picture
from training.tokenizer import build
from training.warp import Bank

from triptych.embedded.world.questions import Question

ASKED = [Question("What color is the star?", "red", "color"), Question("How many?", "3", "count")]


@pytest.fixture(scope="module")
def tokenizer():
    return build()


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(1)
    return Student().eval()


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    bank = Bank(1, 0)
    return [make_picture(rng, bank) for _ in range(3)]


@pytest.mark.parametrize("anyres", [False, True])
@torch.no_grad()
def test_a_packed_conversation_equals_a_single_one(student, pictures, tokenizer, anyres):
    form = Form(tokenizer, anyres)
    rng = np.random.default_rng(0)
    segments = [form.segment([question]) for question in ASKED] + [form.segment(ASKED)]
    rows = [Row(picture, form.opening(rng), segments) for picture in pictures]
    rows.append(Row(None, [shapes.BOS], [form.segment([ASKED[0]], picture=False)]))
    packed, _, owner, _ = forward(student, rows, anyres, teach=False)
    single, _, _, _ = forward(student, [Row(pictures[1], rows[1].opening, [segments[2]])], anyres, teach=False)
    assert torch.allclose(packed[owner == 5], single, atol=2e-5)


@pytest.mark.parametrize("anyres", [False, True])
def test_conversations_are_written_as_the_template_writes_them(tokenizer, tmp_path, anyres):
    from transformers import AutoProcessor

    folder = tmp_path / "model"
    write_llava(Student().llava, folder, anyres)
    processor = AutoProcessor.from_pretrained(folder)
    form = Form(tokenizer, anyres)
    messages = []
    for turn, question in enumerate(ASKED):
        image = [{"type": "image"}] if turn == 0 else []
        messages.append({"role": "user", "content": [*image, {"type": "text", "text": question.text}]})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": question.answer}]})
    text = processor.apply_chat_template(messages[:3], add_generation_prompt=True)
    wanted = processor.tokenizer(text)["input_ids"]
    opening = [shapes.BOS, *tokenizer.encode("[INST] " if anyres else "USER: ", add_special_tokens=False).ids]
    segment = form.segment(ASKED)
    last = max(index for index, label in enumerate(segment.labels) if label == -100) + 1
    assert [*opening, shapes.IMAGE_TOKEN, *segment.ids[:last]] == wanted
    said = [label for label in segment.labels if label != -100]
    assert tokenizer.decode(said).replace("</s>", "").split() == ["red", "3"]
    assert segment.ids[-1] == shapes.EOS


def test_a_sum_is_written_as_the_template_writes_it(tokenizer, tmp_path):
    from transformers import AutoTokenizer

    write_mixtral(Decoder(shapes.MIXTRAL), tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    rng = np.random.default_rng(4)
    ids, labels = conversation(rng, tokenizer, 2)
    chat = theirs.decode(ids)
    turns = chat.removeprefix("<s>").replace("</s>", "\n").replace("[/INST]", "\n").replace("[INST]", "").split("\n")
    roles = ["user", "assistant", "user", "assistant"]
    messages = [{"role": role, "content": turn.strip()} for role, turn in zip(roles, turns, strict=False)]
    assert theirs.apply_chat_template(messages, tokenize=True, return_dict=False) == ids
    assert len(labels) == len(ids)
    assert labels[-1] == shapes.EOS


def test_batches_of_sums_pad_little(tokenizer):
    ids, labels = next(batches(np.random.default_rng(0), tokenizer, 2000))
    assert ids.shape == labels.shape
    assert ids.numel() <= 2000
    assert (labels != -100).any(1).all()


def test_exact_means_every_token():
    logits = torch.eye(4)[torch.tensor([1, 2, 3, 0])]
    labels = torch.tensor([1, 2, 0, 0])
    assert exact_segments(logits, labels, torch.tensor([0, 0, 1, 2]), 3) == [True, False, True]


def test_targets_name_what_the_patches_show(pictures):
    from training.targets import CLASSES, IGNORE, NO_SHAPE, targets_of

    from triptych.embedded.world import Scene, Style, Thing, draw

    thing = Thing("star", "green", "large", 120.0, 50.0, 60.0, 0.0)
    scene = Scene(160, 160, (thing,))
    style = Style("polygon", (255, 255, 255), 0.0, None, 0.0, 0.0, None, (0, 0, 0), "bicubic", 0)
    target = targets_of(scene, padded_view(draw(scene, style)))
    classes = dict(zip(CLASSES, target.classes.reshape(10, 10, -1)[3, 7], strict=True))
    assert (classes["shape"], classes["color"], classes["size"]) == (3, 3, 1)
    assert target.classes.reshape(10, 10, -1)[9, 0, 0] == NO_SHAPE
    assert target.classes.reshape(10, 10, -1)[9, 0, 1] == IGNORE
    place = target.places.reshape(10, 10, 4)[3, 7].astype(float)
    assert place == pytest.approx([0.0, -6 / 160, 60 / 160, 60 / 160], abs=1e-3)
    random.seed(0)
