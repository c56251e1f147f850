"""Texts of many requests encoded together.

What comes while a batch is encoded makes the next one. So a request that comes alone waits for
nobody, and the more there are the larger the batches: a pause to collect more would only add to the
time of both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from twhin_hf.recommendation.encoded import EncodedTexts


class Batcher:
    """Encodes in one worker thread.

    Args:
        encode: What texts tell.
        max_texts: Texts of a batch at most; those of one request are never parted.
    """

    def __init__(self, encode: Callable[[Sequence[str]], EncodedTexts], max_texts: int):
        self._encode, self._max_texts = encode, max_texts
        self._thread = ThreadPoolExecutor(1, "encoder")
        self._waiting: list[tuple[Sequence[str], asyncio.Future[EncodedTexts]]] = []
        self._running: asyncio.Task[None] | None = None

    async def encode(self, texts: Sequence[str]) -> EncodedTexts:
        """What the texts tell, in their order."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((texts, future))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await future

    def close(self) -> None:
        """Ends the thread, after what it does."""
        self._thread.shutdown()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch = self._take()
            together = [text for texts, _ in batch for text in texts]
            try:
                found = await loop.run_in_executor(self._thread, self._encode, together)
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            start = 0
            for texts, future in batch:
                if not future.done():  # its client has gone
                    future.set_result(found.take(slice(start, start + len(texts))))
                start += len(texts)

    def _take(self) -> list[tuple[Sequence[str], asyncio.Future[EncodedTexts]]]:
        """The next batch: one request at least."""
        count = size = 0
        for texts, _ in self._waiting:
            if count and size + len(texts) > self._max_texts:
                break
            count, size = count + 1, size + len(texts)
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch
