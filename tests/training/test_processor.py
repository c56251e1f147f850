"""How a training on a processor multiplies, and what it does with its memory."""

import pytest
import torch

from twhin_hf.training import processor
from twhin_hf.training.pretraining import PretrainingConfig
from twhin_hf.training.processor import fast_products, kept_memory, multiplies_bfloat16


@pytest.fixture
def instructions(monkeypatch):
    """A processor that has what is put in here."""
    found = {}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    return found


def test_bfloat16_is_known_by_its_instructions(instructions):
    assert not multiplies_bfloat16()
    instructions["avx512_bw"] = True  # which emulates it, slowly
    assert not multiplies_bfloat16()
    instructions["avx512_bf16"] = True
    assert multiplies_bfloat16()
    del instructions["avx512_bf16"]
    instructions["amx_bf16"] = True
    assert multiplies_bfloat16()


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, True), ({"bf16": False}, False), ({"fp16": True}, False), ({"bf16": True}, True)],
)
def test_a_training_is_in_bfloat16_where_the_processor_has_it(
    instructions, options, expected, tmp_path
):
    config = {"output_dir": str(tmp_path), "use_cpu": True} | options
    instructions["avx512_bf16"] = True
    assert PretrainingConfig(**config).bf16 is expected
    instructions.clear()
    assert PretrainingConfig(**config).bf16 is options.get("bf16", False)


@pytest.mark.parametrize(
    ("has", "expected"),
    [
        ({}, "highest"),
        ({"avx512_bw": True, "amx_bf16": False}, "medium"),
        ({"avx512_bw": True, "amx_bf16": True}, "highest"),  # it would round to bfloat16
        ({"avx512_bw": True}, "highest"),
    ],
)
def test_products_are_never_less_exact(instructions, has, expected):
    instructions |= has
    with fast_products():
        assert torch.get_float32_matmul_precision() == expected
    assert torch.get_float32_matmul_precision() == "highest"


def test_what_was_asked_for_is_left_alone(instructions):
    instructions |= {"avx512_bw": True, "amx_bf16": False}
    torch.set_float32_matmul_precision("high")
    try:
        with fast_products():
            assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_products_on_this_machine_are_of_float32(capabilities, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", capabilities, raising=False)
    torch.manual_seed(0)
    left, right = torch.randn(200, 300), torch.randn(300, 400)
    exact = left.double() @ right.double()
    with fast_products():
        found = left @ right
    # bfloat16 would be off by 0.1.
    assert (found - exact).abs().max() < 1e-3


def test_memory_is_kept_within(monkeypatch):
    calls = []

    class Library:
        def mallopt(self, name, value):
            calls.append((name, value))

        def malloc_trim(self, pad):
            calls.append("trim")

    monkeypatch.setattr(processor.sys, "platform", "linux")
    monkeypatch.setattr(processor.ctypes, "CDLL", lambda name: Library())
    with kept_memory():
        assert calls == [(-3, 128 * 2**20), (-1, -1)]
    assert calls[2:] == [(-3, 32 * 2**20), (-1, 64 * 2**20), "trim"]


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_other_systems_are_left_alone(monkeypatch, platform):
    monkeypatch.setattr(processor.sys, "platform", platform)
    monkeypatch.setattr(processor.ctypes, "CDLL", lambda name: object())  # musl
    with kept_memory():
        pass
