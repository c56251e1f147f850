"""`twhin-hf demo`."""

from __future__ import annotations

from twhin_hf.demo.demo_config import DemoConfig, DemoInputs
from twhin_hf.table_format import TableFormat


def demo(
    inputs: DemoInputs,
    config: DemoConfig,
    table_format: TableFormat,
    run: str | None = None,
    output: str | None = None,
    key_file: str | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    launch: bool = True,
    overwrite: bool = False,
) -> None:
    """Open a page to try an encoder on: near posts beside a stock encoder's, hashtags, audiences.

    Without --model and --run it shows generated data: a small network and an encoder that learns
    from it in minutes, kept in runs/demo. What is shown lies in the output folder, with texts
    without people and hashed ids, so that `twhin-hf push --space` can publish it; the same command
    again opens it at once.

    Args:
        inputs: What the demo is made of.
        config: What the demo shows.
        table_format: How text tables are written.
        run: Output folder of `twhin-hf run`, whose best encoder is shown beside the one that it
            began from; --model and --posts are not needed then.
        output: Folder of the demo (default: demo, inside the run's folder if there is one).
        key_file: File with the secret key of the hashes that stand for ids of a recommender; made
            if it is not there (default: OUTPUT.key, beside the output).
        host: Address to listen at; the default is reached from this machine alone.
        port: Port to listen at (default: the first free one from 7860 on).
        launch: Open the page; without it the folder is made and no more.
        overwrite: Begin anew where the output holds a finished run, or one of other options.
    """
    from dataclasses import replace
    from pathlib import Path

    from twhin_hf.commands.options import key_fingerprint, model_identity, options_of_result
    from twhin_hf.demo.making import SETTINGS, make_demo
    from twhin_hf.demo.of_run import demo_of_run
    from twhin_hf.demo.page import launch as launch_page
    from twhin_hf.errors import InputError
    from twhin_hf.printing import report
    from twhin_hf.privacy.keys import key_beside, read_or_make_key
    from twhin_hf.run_file import run_whole_folder

    nothing = inputs == DemoInputs()
    is_there = output is not None and (Path(output) / SETTINGS).is_file()
    if nothing and run is None and is_there and not overwrite:
        launch_page(str(output), host, port)
        return
    if nothing and run is None:
        run = _generated_run(overwrite)
    is_generated = False
    if run is not None:
        found = demo_of_run(run)
        default = vars(DemoInputs())
        given = {name: value for name, value in vars(inputs).items() if value != default[name]}
        inputs, is_generated = replace(found.inputs, **given), found.is_generated
        config = replace(config, label=config.label or found.label)
        table_format = found.table_format
        if is_generated and inputs.recommender is None:
            inputs = replace(inputs, recommender=_fitted(inputs, f"{run}/recommender", overwrite))
    elif not inputs.model or not inputs.posts:
        raise InputError("give --model and --posts; or --run; or none of them, for generated data")
    folder = Path(output or (f"{run}/demo" if run else "demo"))
    key = None
    if inputs.recommender:
        key = read_or_make_key(Path(key_file) if key_file else key_beside(folder))
    files = ("posts", "engagements", "network", "recommender", "hashtag_classifier")
    told = ("pooling", "stock_pooling", "columns", "post_columns")
    models = {name: getattr(inputs, name) for name in ("model", "stock")}
    prints = {name: model_identity(place) for name, place in models.items() if place}
    with run_whole_folder(
        folder,
        "demo",
        options_of_result(config, table_format, **{name: getattr(inputs, name) for name in told}),
        data={name: getattr(inputs, name) for name in files},
        fingerprints=prints | key_fingerprint(key),
        seed=config.seed,
        overwrite=overwrite,
    ) as written:
        if not written.is_finished:
            number = make_demo(
                inputs,
                written.path,
                config,
                key=key,
                is_generated=is_generated,
                table_format=table_format,
            )
            report(f"{number:,} posts to look in, saved in {folder}")
    if launch:
        launch_page(folder, host, port)


def _generated_run(overwrite: bool) -> str:
    """The small main job on generated data, run unless it has been."""
    from twhin_hf.commands.parsing import parse_command
    from twhin_hf.commands.run import run

    values = parse_command(run, ["--config=demo"], "twhin-hf run")
    run(**values | {"overwrite": overwrite})
    return values["config"].output


def _fitted(inputs: DemoInputs, output: str, overwrite: bool) -> str:
    """A recommender of the demo's log, fitted unless it has been."""
    from twhin_hf.commands.recommender import fit
    from twhin_hf.network.log_config import LogConfig
    from twhin_hf.recommendation.recommendation_config import RecommendationConfig

    fit(
        engagements=str(inputs.engagements),
        posts=str(inputs.posts),
        encoder=str(inputs.model),
        network=str(inputs.network),
        output=output,
        config=RecommendationConfig(),
        log=LogConfig(),
        table_format=TableFormat(),
        overwrite=overwrite,
    )
    return output
