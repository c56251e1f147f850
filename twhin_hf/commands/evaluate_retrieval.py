"""`twhin-hf evaluate retrieval`."""

from __future__ import annotations

import logging
from typing import Any

from twhin_hf.commands.options import (
    BitextOptions,
    EncoderOptions,
    options_of_result,
    results_run,
    save_results,
)
from twhin_hf.errors import InputError

logger = logging.getLogger(__name__)


def retrieval(
    output: str,
    bitext: BitextOptions,
    encoder: EncoderOptions,
    neighbours: int = 4,
    projected: bool = False,
    overwrite: bool = False,
) -> None:
    """Find each text's translation among all texts: accuracy@1, accuracy@10 and MRR.

    Both directions, by cosine and by the ratio margin of Artetxe and Schwenk (2019), beside chance
    and the characters of the texts alone. A text with several translations may find any of them.

    Args:
        output: Folder for results.json.
        bitext: Translation pairs to judge by.
        encoder: Encoder to judge.
        neighbours: Number of neighbours of the margin score (paper: 4).
        projected: Compare the outputs of the TPP head, as training does, instead of the encoder's
            pooled vectors.
        overwrite: Begin anew where the output holds a finished run, or one of other options.
    """
    from twhin_hf.devices import pick_device
    from twhin_hf.evaluation.retrieval import evaluate_retrieval, retrieval_rows
    from twhin_hf.evaluation.retrieval_baselines import retrieval_baselines
    from twhin_hf.loading.auto import embedding_sentence, load_post_encoder, load_with_heads
    from twhin_hf.loading.joined import is_joined, load_joined_encoder
    from twhin_hf.results import Results

    if projected and encoder.pooling:
        raise InputError(
            "--projected and --pooling exclude each other: the TPP head reads the pooling that it "
            "was trained on. Leave one out"
        )
    run = results_run(
        output,
        "evaluate retrieval",
        options_of_result(
            neighbours=neighbours,
            projected=projected,
            columns=bitext.columns,
            **encoder.of_vectors(),
        ),
        data=bitext.files(),
        fingerprints={"model": encoder.identity()},
        overwrite=overwrite,
    )
    if run.is_finished:
        return
    device = pick_device(encoder.device)
    pairs = bitext.read()
    model: Any
    if projected:
        model = load_with_heads(encoder.model, encoder.revision).to(device)
        pooling, vectors = model.config.tpp_pooling, {"objective": "tpp"}
    elif encoder.pooling is not None and is_joined(encoder.pooling):
        pooling, vectors = encoder.pooling, {}
        model = load_joined_encoder(encoder.model, pooling, encoder.revision, device)
    else:
        model = load_post_encoder(encoder.model, encoder.revision).to(device)
        pooling = encoder.pooling or model.config.pooling
        vectors = {"pooling": pooling}
        if encoder.pooling or encoder.max_length:
            logger.info("Here: %s", embedding_sentence(model, pooling, encoder.max_length))
    found = evaluate_retrieval(
        model,
        pairs,
        neighbours=neighbours,
        device=device,
        batch_size=encoder.batch_size,
        max_length=encoder.max_length,
        **vectors,
    )
    others = retrieval_baselines(found, pairs, neighbours=neighbours, device=device)
    results = Results(
        task="retrieval",
        model=encoder.model,
        revision=encoder.revision,
        results=retrieval_rows(found),
        baselines={name: retrieval_rows(own) for name, own in others.items()},
        options={
            "pairs": bitext.pairs,
            "pooling": pooling,
            "projected": projected,
            "max_length": encoder.max_length,
            "neighbours": neighbours,
        },
    )
    save_results(results, output, "Translations found", run.record)
