"""`twhin-hf push`."""

from __future__ import annotations

from twhin_hf.errors import InputError
from twhin_hf.files import read_text
from twhin_hf.hub.card_metadata import CardMetadata


def push(
    repo: str,
    metadata: CardMetadata,
    model: str | None = None,
    dataset: str | None = None,
    space: str | None = None,
    private: bool = False,
    card: str | None = None,
    base_model: str | None = None,
    allow_columns: list[str] | None = None,
    key_file: str | None = None,
    message: str = "Upload with twhin_hf",
    files: list[str] | None = None,
    dry_run: bool = False,
    show_card: bool = False,
) -> None:
    """Publish a model, an adapter, a benchmark or a demo on the Hub in one commit.

    A recommender goes out with hashed ids, without anybody's engagements and without users of fewer
    than five.

    A model goes out with weights, tokenizer, code, card and results (results*.json in the folder);
    a second commit pins the first in the card. Whatever else is there (checkpoints, optimizers,
    logs, pickles) stays behind and is named. Text that people wrote into the card stays when it is
    pushed again.

    Args:
        repo: Repository, OWNER/NAME; created if missing.
        metadata: What no folder tells.
        model: Folder of a saved model, adapter or recommender.
        dataset: Folder that a `twhin-hf data` command has written.
        space: Folder that `twhin-hf demo` has made, to go out as a Space.
        private: Create the repository as private.
        card: Card to begin with, such as one of model_cards/.
        base_model: Repository of an adapter's base model.
        allow_columns: Columns of a benchmark to publish though they are unknown and may tell of
            people; id for ids of posts that are neither keyed hashes nor numbers.
        key_file: File, for a recommender, with the secret key of the hashes; made if it is not
            there (default: MODEL.key, beside the model's folder).
        message: Commit message.
        files: Other texts of the model's folder to publish, by their paths in it.
        dry_run: List the files that would be published, and ask no network.
        show_card: Print the card.
    """
    from pathlib import Path

    from rich.table import Table

    from twhin_hf.extras import check_extra
    from twhin_hf.hub.client import CARD
    from twhin_hf.hub.datasets import plan_dataset_push, push_dataset
    from twhin_hf.hub.guard import people_in_vocabulary
    from twhin_hf.hub.push import plan_push, push_model
    from twhin_hf.hub.sections import read_card
    from twhin_hf.printing import report
    from twhin_hf.privacy.keys import key_beside, read_or_make_key
    from twhin_hf.recommendation.folder import is_recommender, load
    from twhin_hf.recommendation.publishing import push_recommender
    from twhin_hf.version import __version__

    if sum(map(bool, (model, dataset, space))) != 1:
        raise InputError(
            "give --model (a model or adapter), --dataset (a benchmark) or --space (a demo): one "
            "of them"
        )
    if repo.count("/") != 1:
        raise InputError(f"--repo is {repo!r}; give the owner and the name, such as me/my-model")
    text = read_text(card) if card else None
    if files and not model:
        raise InputError("--files goes with --model: of others all that belongs to them goes out")
    if base_model and not model:
        raise InputError("--base_model goes with --model: a demo or a benchmark has no base model")
    if allow_columns and not dataset:
        raise InputError("--allow_columns goes with --dataset: a benchmark's columns alone vary")
    allowed = allow_columns or []
    if model and is_recommender(model):
        path = Path(key_file) if key_file else key_beside(model)
        is_new = not path.exists()
        key = read_or_make_key(path)
        if is_new:
            report(f"Made the secret key {path}: with it people are found again; publish it never")
        done = push_recommender(
            load(model),
            repo,
            key=key,
            private=private,
            message=message,
            card=text,
            metadata=metadata,
            dry_run=dry_run,
        )
    elif key_file:
        raise InputError("--key_file goes with a recommender: others hold no ids of people")
    elif space:
        check_extra("demo")
        # Late: it needs what `twhin-hf demo` needs.
        from twhin_hf.demo.publishing import plan_space_push, push_space

        if dry_run:
            done = plan_space_push(space, repo, text, metadata)
        else:
            done = push_space(
                space, repo, private=private, card=text, message=message, metadata=metadata
            )
        if "dev" in __version__:
            report(
                f"The Space installs twhin_hf {__version__}, which is no release: put a line that "
                "pip finds into its requirements.txt"
            )
    elif dataset and dry_run:
        done = plan_dataset_push(dataset, repo, text, allowed, metadata)
    elif dataset:
        done = push_dataset(
            dataset,
            repo,
            private=private,
            card=text,
            message=message,
            allow_columns=allowed,
            metadata=metadata,
        )
    elif dry_run:
        done = plan_push(str(model), repo, text, base_model, metadata, files or ())
    else:
        done = push_model(
            str(model),
            repo,
            private=private,
            card=text,
            message=message,
            base_model=base_model,
            metadata=metadata,
            files=files or (),
        )
    table = Table()
    table.add_column("file")
    table.add_column("bytes", justify="right")
    for name, size in done.sizes().items():
        table.add_row(name, f"{size:,}")
    report(f"{'Would be pushed' if dry_run else 'Pushed'} to {repo}", table)
    for title, names in (("Left behind", done.left_behind), ("Deleted", done.deleted)):
        if names:
            report(f"{title}: {', '.join(names)}")
    if people := people_in_vocabulary(done.files.get("tokenizer.json", b"{}")):
        report(
            f"{len(people):,} tokens of tokenizer.json are names of people, such as {people[0]}: "
            "they are published with it. A tokenizer trained anew by this version learns no names"
        )
    written = done.files[CARD]
    shown = written.decode() if isinstance(written, bytes) else written.read_text(encoding="utf-8")
    if not read_card(shown).data.get("license"):
        report("The card names no licence: nobody may use it. Give one with --license")
    if model and not is_recommender(model) and "## Results" not in shown:
        report(
            "The card shows no results: nobody can tell what the model is worth. "
            "`twhin-hf run` puts them beside the model when it ends; `twhin-hf evaluate` writes "
            "results.json, which belongs into the model's folder"
        )
    if show_card:
        report(shown)
    if done.url:
        report(done.url)
