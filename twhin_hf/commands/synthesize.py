"""`twhin-hf synthesize`."""

from __future__ import annotations

from twhin_hf.data.synthetic_config import SyntheticConfig


def synthesize(
    output: str,
    config: SyntheticConfig,
    num_translation_pairs: int = 2_000,
    overwrite: bool = False,
) -> None:
    """Generate a small, seeded, multilingual social network to try everything on.

    Writes posts.parquet and engagements.parquet, which show what real posts and a real log look
    like, and translation_pairs.parquet, texts in the network's words in two languages.

    Args:
        output: Output folder.
        config: Size and shape of the network.
        num_translation_pairs: Number of translation pairs of the first language with each other.
        overwrite: Begin anew where the output holds a finished run, or one of other options.
    """
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq

    from twhin_hf.commands.options import options_of_result
    from twhin_hf.data.synthetic import generate_network, translation_pairs
    from twhin_hf.files import new_file
    from twhin_hf.printing import report
    from twhin_hf.run_folder import run_folder

    kept = ("posts.parquet", "engagements.parquet", "translation_pairs.parquet")
    with run_folder(
        output,
        "synthesize",
        options_of_result(config, num_translation_pairs=num_translation_pairs),
        seed=config.seed,
        results=kept,
        overwrite=overwrite,
        discard=lambda folder: (folder / kept[-1]).unlink(missing_ok=True),
    ) as run:
        if run.is_finished:
            return
        network = generate_network(config)
        network.save(output)
        report(
            f"{network.users.num_rows:,} users, {network.posts.num_rows:,} posts and "
            f"{network.engagements.num_rows:,} engagements, saved in {output}"
        )
        first, *others = config.languages
        if others and num_translation_pairs > 0:
            tables = [
                translation_pairs(config, num_translation_pairs, first, other, seed)
                for seed, other in enumerate(others)
            ]
            path = Path(output) / kept[-1]
            with new_file(path) as partial:
                pq.write_table(pa.concat_tables(tables), partial)
            report(f"{sum(map(len, tables)):,} translation pairs, saved in {path}")
