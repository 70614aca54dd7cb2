"""What a course of the LLaVA models begins with, and what it learns from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from training.export import write_llava
from training.llava import Plan, School, Student, start
from training.render import make_picture, write_shard
from training.warp import Bank


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder as a finished course of both forms leaves it."""
    torch.manual_seed(1)
    work = tmp_path_factory.mktemp("work")
    for name, network in (("llava-both", Student()), ("vision", Student().teacher)):
        torch.save({"network": network.state_dict()}, work / f"{name}.pt")
    bank, rng = Bank(variations=1, seed=0), np.random.default_rng(0)
    for folder in ("shards", "crowd"):
        (work / folder).mkdir()
        write_shard(work / folder / "1.pkl", [make_picture(rng, bank, small=0.5) for _ in range(8)])
    return work


@pytest.mark.parametrize(("stage", "towers_own"), [("both", False), ("next", True)])
def test_a_checkpoint_to_go_on_from(work, tmp_path, stage, towers_own):
    torch.manual_seed(2)
    given = Student().llava
    write_llava(given, tmp_path, True, torch.float32)
    kept = torch.load(work / ("llava-both.pt" if towers_own else "vision.pt"), weights_only=True)["network"]
    student = start(work, stage, [tmp_path])
    assert torch.equal(student.llava.language_model.lm_head.weight, given.language_model.lm_head.weight)
    patch = student.teacher.tower.patch.weight
    assert torch.equal(patch, given.vision_tower["vision_model"].patch.weight) is towers_own
    heads = "teacher.embed_heads.weight" if towers_own else "embed_heads.weight"
    assert torch.equal(student.teacher.embed_heads.weight, kept[heads])


@pytest.mark.parametrize("stage", ["both", "next"])
@pytest.mark.parametrize("resting", [False, True])
def test_the_tower_learns_from_whole_pictures_only_where_1_6_learns_alone(work, stage, resting):
    student = start(work, "next", [])
    school = School(student, Plan(stage, 1, 1e-3, 8, 0, 0), work, seed=0)
    loss, _ = school.lesson(anyres=True, resting=resting)
    [grad] = torch.autograd.grad(loss, [student.teacher.tower.patch.weight], allow_unused=True)
    assert (grad is not None) is (stage == "next" and not resting)


@pytest.mark.parametrize("resting", [False, True])
def test_heads_learn_from_single_tiles_also_while_the_tower_rests(work, resting):
    student = start(work, "next", [])
    school = School(student, Plan("both", 1, 1e-3, 8, 4, 0), work, seed=0)
    loss, _ = school.lesson(anyres=True, resting=resting)
    weights = [student.teacher.embed_heads.weight, student.teacher.tower.patch.weight]
    heads, tower = torch.autograd.grad(loss, weights, allow_unused=True)
    assert heads.abs().sum() > 0
    assert (tower is None) is resting


def test_more_small_numbers_on_demand():
    bank, rng = Bank(variations=1, seed=0), np.random.default_rng(0)
    scenes = [make_picture(rng, bank, small=1.0).scene for _ in range(12)]
    assert {scene.numeral.size for scene in scenes if scene and scene.numeral} == {"small"}
    assert all(scene is not None and scene.numeral is not None for scene in scenes)
