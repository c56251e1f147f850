"""`twhin-hf evaluate alignment`."""

from __future__ import annotations

import logging

from twhin_hf.commands.options import BitextOptions, Pooling, model_identity, options_of_result

logger = logging.getLogger(__name__)


def alignment(
    before: str,
    after: str,
    output: str,
    bitext: BitextOptions,
    max_pairs: int = 500,
    seed: int = 0,
    pooling: Pooling | None = None,
    max_length: int | None = None,
    batch_size: int = 32,
    device: str | None = None,
    overwrite: bool = False,
) -> None:
    """Compare the distances of translations before and after training, and plot both.

    Mean distance between translations by two encoders, beside that of random texts, and both sides
    in two dimensions: t-SNE, and UMAP if umap-learn is installed (pip install 'twhin_hf[umap]').

    Args:
        before: Encoder before training: folder or Hub repository.
        after: Encoder after training: folder or Hub repository.
        output: Folder for results.json, distances.csv, points.csv and plots.
        bitext: Translation pairs to judge by.
        max_pairs: Maximum number of pairs for each two languages.
        seed: Random seed.
        pooling: Pooling of the token vectors (default: the model's own).
        max_length: Maximum sequence length; longer texts are truncated (default: 128, or the
            model's if less).
        batch_size: Texts per batch.
        device: Device (default: GPU if available).
        overwrite: Begin anew where the output holds a finished run, or one of other options.
    """
    from pathlib import Path

    from twhin_hf.commands.options import results_run, save_results
    from twhin_hf.devices import pick_device
    from twhin_hf.evaluation.alignment import (
        METHODS,
        alignment_rows,
        available_methods,
        common_options,
        evaluate_alignment,
        write_distances,
    )
    from twhin_hf.evaluation.alignment_plots import (
        POINTS_FILE,
        alignment_points,
        plot_distances,
        plot_points,
        write_points,
    )
    from twhin_hf.loading.auto import embedding_sentence, load_post_encoder
    from twhin_hf.path_names import path_name
    from twhin_hf.printing import report
    from twhin_hf.results import Results

    run = results_run(
        output,
        "evaluate alignment",
        options_of_result(
            max_pairs=max_pairs,
            seed=seed,
            pooling=pooling,
            max_length=max_length,
            columns=bitext.columns,
        ),
        data=bitext.files(),
        fingerprints={"before": model_identity(before), "after": model_identity(after)},
        seed=seed,
        overwrite=overwrite,
    )
    if run.is_finished:
        return
    pairs, device = bitext.read(), pick_device(device)
    for code in {*pairs["lang_a"], *pairs["lang_b"]}:
        path_name(code, "language")  # of a plot, at the end
    first, second = (load_post_encoder(name).to(device) for name in (before, after))
    options = common_options(first, second, pooling, max_length)
    if pooling or max_length:
        logger.info("Here: %s", embedding_sentence(second, **options))
    found = evaluate_alignment(
        first, second, pairs, max_pairs=max_pairs, seed=seed, batch_size=batch_size, **options
    )
    methods, folder = available_methods(), Path(output)
    results = Results(
        task="alignment",
        model=after,
        results=alignment_rows(found),
        options={
            "before": before,
            "pairs": bitext.pairs,
            "max_pairs": max_pairs,
            "seed": seed,
            **options,
            "methods": methods,
        },
    )
    if len(methods) < len(METHODS):
        report("No UMAP: umap-learn is not installed (pip install 'twhin_hf[umap]').")
    report(f"Saved in {write_distances(found, folder / 'distances.csv')}")
    report(f"Saved in {plot_distances(found, folder / 'distances.png')}")
    points = []
    for one in found:
        plot = folder / f"{path_name('-'.join(one.languages))}.png"
        drawn = alignment_points(one, methods, seed)
        report(f"Saved in {plot_points(drawn, one, plot)}")
        points += drawn
    report(f"Saved in {write_points(points, folder / POINTS_FILE)}")
    save_results(results, output, "Distance between translations", run.record)  # last: all is done
