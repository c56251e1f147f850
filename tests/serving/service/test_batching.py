"""Texts of several requests are encoded together, and go back to whom they are of."""

import asyncio

import numpy as np
import pytest

from twhin_hf.recommendation.encoded import EncodedTexts
from twhin_hf.serving.service.batching import Batcher


def lengths(sizes):
    """An encoder of the lengths of texts, which notes the sizes of its batches."""

    def encode(texts):
        sizes.append(len(texts))
        if "bad" in texts:
            raise RuntimeError("bad")
        column = np.array([[len(text)] for text in texts], np.float32)
        return EncodedTexts(column, column, column, column)

    return encode


def run(work, sizes, max_texts=4):
    async def main():
        batcher = Batcher(lengths(sizes), max_texts)
        try:
            return await work(batcher)
        finally:
            batcher.close()

    return asyncio.run(main())


def test_what_waits_makes_a_batch():
    sizes = []
    asked = [["a"], ["bb", "c"], ["ddd"], ["e", "ff"], ["g"] * 6, ["h"]]

    async def work(batcher):
        return await asyncio.gather(*map(batcher.encode, asked))

    found = run(work, sizes)
    assert [one.vectors[:, 0].tolist() for one in found] == [[*map(len, texts)] for texts in asked]
    assert sizes == [4, 2, 6, 1]  # those of a request are never parted


def test_an_error_is_told_to_those_of_its_batch_alone():
    sizes = []

    async def work(batcher):
        found = await asyncio.gather(
            *map(batcher.encode, (["bad"], ["a"], ["b"])), return_exceptions=True
        )
        return found, await batcher.encode(["c"])

    found, later = run(work, sizes, max_texts=2)
    assert [type(one) for one in found] == [RuntimeError, RuntimeError, EncodedTexts]
    assert later.text.tolist() == [[1.0]]


def test_one_who_went_away_takes_nothing_from_the_others():
    async def work(batcher):
        gone, stays = (asyncio.create_task(batcher.encode([text])) for text in ("a", "bb"))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        return await stays

    assert run(work, []).text.tolist() == [[2.0]]
