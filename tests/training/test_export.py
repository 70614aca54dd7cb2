"""What training computes is what transformers computes from the exported files."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from training import shapes
from training.chat import Form
from training.export import write_llava, write_mixtral
from training.llava import Row, Student, forward
from training.network import Decoder, Sight
from training.prepare import anyres_views, padded_view
from training.render import Picture
from training.tokenizer import build

from triptych.embedded.world.questions import Question


def shaken(network: torch.nn.Module) -> torch.nn.Module:
    """Every weight, norms and biases too, away from its special starting value."""
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    return network.eval()


@pytest.mark.parametrize("anyres", [False, True])
@torch.no_grad()
def test_llava(tmp_path, anyres):
    from transformers import AutoProcessor, LlavaForConditionalGeneration, LlavaNextForConditionalGeneration

    student = shaken(Student())
    write_llava(student.llava, tmp_path, anyres, torch.float32)
    family = LlavaNextForConditionalGeneration if anyres else LlavaForConditionalGeneration
    model = family.from_pretrained(tmp_path, dtype=torch.float32).eval()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (230, 310, 3), dtype=np.uint8))
    form = Form(build(), anyres)
    views, grid = anyres_views(image, shapes.GRID)
    pixels = np.stack([view.pixels for view in [padded_view(image), *views]])
    picture = Picture(None, pixels, np.zeros(0), np.zeros(0), grid)
    segment = form.segment([Question("What is this?", "a large red circle", "caption")])
    opening = [shapes.BOS, *build().encode("[INST] " if anyres else "USER: ", add_special_tokens=False).ids]
    ours, labels, _, _ = forward(student, [Row(picture, opening, [segment])], anyres, teach=False)
    text = "[INST] <image>\nWhat is this? [/INST]" if anyres else "USER: <image>\nWhat is this? ASSISTANT:"
    inputs = AutoProcessor.from_pretrained(tmp_path)(
        images=[image], text=f"{text} a large red circle", return_tensors="pt"
    )
    theirs = model(**inputs).logits[0, -len(labels) :]
    assert torch.allclose(ours, theirs, atol=2e-3, rtol=1e-3)


@torch.no_grad()
def test_mixtral(tmp_path):
    from transformers import MixtralForCausalLM

    network = shaken(Decoder(shapes.MIXTRAL))
    write_mixtral(network, tmp_path, torch.float32)
    model = MixtralForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    ids = torch.randint(3, 600, (2, 17))
    positions = torch.arange(17)[None].expand(2, -1)
    ours = network.lm_head(network.hidden(network.embed(ids), positions, Sight()))
    assert torch.allclose(ours, model(ids).logits, atol=1e-3, rtol=1e-3)


def test_the_unread_tower_layer_is_written_as_zeros(tmp_path):
    from safetensors.torch import load_file

    write_llava(Student().llava, tmp_path, True)
    weights = load_file(tmp_path / "model.safetensors")
    last = json.loads((tmp_path / "config.json").read_text())["vision_config"]["num_hidden_layers"] - 1
    unread = [weight for name, weight in weights.items() if f"encoder.layers.{last}." in name]
    assert unread
    assert all(not weight.any() for weight in unread)
