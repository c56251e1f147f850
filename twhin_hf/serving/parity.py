"""How near the vectors of an exported model are to those of PyTorch, and how fast it makes them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

SENTENCES = (
    "New volcano photos from this morning 🌋 https://example.org/photos",
    "¡El volcán despertó otra vez! Cerraron el aeropuerto y todos los caminos al pueblo.",
    "Le volcan s'est réveillé cette nuit, voici les premières images #volcan",
    "Wer kommt heute Abend mit ins Kino? Der Film soll wirklich gut sein.",
    "O jogo foi incrível, ninguém esperava esse gol no último minuto!!!",
    "Kahve mi, çay mı? Bugün ikisini de içtim.",
    "Сегодня впервые за неделю вышло солнце, и весь город пошёл гулять в парк.",
    "Ο καιρός σήμερα είναι υπέροχος για μια βόλτα δίπλα στη θάλασσα.",
    "صباح الخير يا أصدقاء، من يريد القهوة هذا الصباح؟",
    "چه فیلم خوبی بود، حتماً دوباره می‌بینمش",
    "ראיתי אתמול את ההופעה והיה פשוט מדהים",
    "आज की शाम दोस्तों के साथ बहुत अच्छी रही",
    "আজ সারাদিন বৃষ্টি, চা আর বই নিয়ে বসে আছি",
    "இன்று காலை கடற்கரையில் நடந்தேன்",
    "วันนี้อากาศดีมาก ไปเที่ยวทะเลกันเถอะ",
    "今日は桜が満開で、公園は人でいっぱいでした。",
    "今天的日落太美了，大家都停下来拍照。",
    "오늘 경기 정말 대단했어요, 마지막 1분에 역전골이라니!",
    "Hari ini macet sekali, hampir dua jam di jalan 😩",
    "Trời mưa to quá, chắc hôm nay không đi chơi được rồi.",
    "lol",
    "@friend thank you so much ❤️❤️❤️",
    "Gooood morning",
    "1 2 3",
)
"""Posts in the scripts that people write."""


class Comparison(NamedTuple):
    """An exported model beside PyTorch.

    Args:
        num_texts: Whose vectors were compared, of many lengths; speed is that of posts.
        min_cosine: Of the two vectors of a text.
        mean_cosine: The same, over all texts.
        pytorch_texts_per_second: The better of a few rounds.
        exported_texts_per_second: The same.
    """

    num_texts: int
    min_cosine: float
    mean_cosine: float
    pytorch_texts_per_second: float
    exported_texts_per_second: float

    @property
    def speedup(self) -> float:
        """Times as fast as PyTorch."""
        return self.exported_texts_per_second / self.pytorch_texts_per_second


def parity_texts() -> list[str]:
    """Texts of one token up to more than a model reads: each sentence, and 2, 4, 8 … in a row."""
    texts = ["", *SENTENCES]
    for length in (2, 4, 8, 16):
        starts = range(0, len(SENTENCES), length)
        texts += [" ".join(SENTENCES[start : start + length]) for start in starts]
    return texts


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cosine of each row of one with the same row of the other.

    Args:
        a: `[rows, dimension]`.
        b: The same.

    Returns:
        `[rows]`; 1 where both are zero, as the mean of a text without tokens is, and NaN where
        one is.

    Example:
        >>> cosines(np.array([[1.0, 0.0], [3.0, 4.0]]), np.array([[2.0, 0.0], [4.0, 3.0]])).tolist()
        [1.0, 0.96]
    """
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    found = np.divide((a * b).sum(axis=1), lengths, out=np.full(len(a), np.nan), where=lengths != 0)
    return np.where(a.any(axis=1) | b.any(axis=1), found, 1.0)


def compare(
    pytorch: Callable[[list[str]], np.ndarray],
    exported: Callable[[list[str]], np.ndarray],
    rounds: int = 3,
) -> Comparison:
    """Compares vectors, and speed in turns, so that what else runs slows both.

    Args:
        pytorch: Texts to vectors `[texts, dimension]`.
        exported: The same.
        rounds: Of which the fastest counts.
    """
    texts = parity_texts()
    found = cosines(exported(texts).astype(np.float64), pytorch(texts).astype(np.float64))
    many = list(SENTENCES) * 10
    seconds: dict[str, list[float]] = {"pytorch": [], "exported": []}
    for _ in range(rounds):
        for name, encode in (("pytorch", pytorch), ("exported", exported)):
            start = time.perf_counter()
            encode(many)
            seconds[name].append(time.perf_counter() - start)
    return Comparison(
        len(texts),
        # A vector that is not finite is as far as can be.
        float(np.nan_to_num(found, nan=-1.0).min()),
        float(np.nan_to_num(found, nan=-1.0).mean()),
        len(many) / min(seconds["pytorch"]),
        len(many) / min(seconds["exported"]),
    )
