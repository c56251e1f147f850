"""A demo as a Space on the Hub in one commit: the app, what it shows, its models, a card."""

from __future__ import annotations

import json
import re
import warnings
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import jinja2
import yaml

from twhin_hf.demo.content import DemoContent, read_demo
from twhin_hf.demo.making import MAP, MODEL, POSTS, RECOMMENDER, SETTINGS
from twhin_hf.demo.page import TITLE
from twhin_hf.errors import InputError, reading
from twhin_hf.hub.card_metadata import CardMetadata
from twhin_hf.hub.client import CARD, Push, publish
from twhin_hf.hub.datasets import check_table
from twhin_hf.hub.folder import as_json, model_files
from twhin_hf.hub.guard import check_files, check_link
from twhin_hf.hub.markdown import as_text
from twhin_hf.hub.sections import merge_cards
from twhin_hf.loading.places import looks_local
from twhin_hf.privacy.people import names_people
from twhin_hf.recommendation import folder as recommenders
from twhin_hf.recommendation.publishing import recommender_files

APP, REQUIREMENTS = "app.py", "requirements.txt"
CLASSIFIER = "hashtag_classifier"
_VECTORS = f"{RECOMMENDER}/users.safetensors"
_PINNED = ("torch", "transformers")
_MAP_DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)


def plan_space_push(
    folder: str | Path,
    repo_id: str,
    card: str | None = None,
    given: CardMetadata | None = None,
) -> Push:
    """What a push would publish; asks no network.

    Args:
        folder: That `twhin-hf demo` has made. Models that it names and that lie on this machine go
            out with it; those of the Hub are named.
        repo_id: `owner/name`.
        card: That is there already; what was written in it by hand stays.
        given: For the card: licence and data sets.

    Raises:
        FileNotFoundError: No such demo, or a model of it is not there.
        InputError: Something that must not go out: names or ids of people, a path of this machine,
            a secret, a column that no demo has.
    """
    folder, given = Path(folder), given or CardMetadata()
    content = read_demo(folder)
    settings = json.loads(json.dumps(content.settings))
    going: dict[str, bytes | Path] = {POSTS: folder / POSTS, MAP: folder / MAP}
    left_behind: list[str] = []
    places = {name: told for name, told in settings["models"].items() if name in content.units}
    for name, told in places.items():
        told["place"] = _with_model(folder, name, told["place"], going, left_behind)
    if settings.get(CLASSIFIER):
        settings[CLASSIFIER] = _with_model(
            folder, CLASSIFIER, settings[CLASSIFIER], going, left_behind
        )
    if (folder / RECOMMENDER).is_dir():
        found, others = recommender_files(folder / RECOMMENDER)
        going |= {f"{RECOMMENDER}/{name}": path for name, path in found.items()}
        left_behind += [f"{RECOMMENDER}/{name}" for name in others]
    going[SETTINGS] = as_json(settings)
    going[APP] = _read("app.py.txt").encode()
    going[REQUIREMENTS] = requirements().encode()
    named = [told["place"] for told in places.values()] + [settings.get(CLASSIFIER)]
    text = _card(content, repo_id, given, [place for place in named if place and "/" in place])
    going[CARD] = (merge_cards(card, text) if card else text).encode()
    _check(content, folder, going)
    return Push(repo_id, going, left_behind)


def push_space(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    card: str | None = None,
    token: str | None = None,
    message: str = "Upload the demo",
    metadata: CardMetadata | None = None,
) -> Push:
    """Publishes a demo as a Space in one commit: all of it is there, or nothing.

    Args:
        folder: As `plan_space_push` takes.
        repo_id: `owner/name`; made where there is none. A name alone is one of the token's owner.
        private: Only its owners may see it.
        card: To begin with, where the repository has none.
        token: With the right to write; by default the one that `hf auth login` has kept.
        message: Of the commit.
        metadata: For the card, as `plan_space_push` takes.

    Raises:
        FileNotFoundError: As `plan_space_push`.
        InputError: As `plan_space_push`; no token or one that may not write, a public repository
            where a private one is asked for, or a Hub that does not answer.
    """
    with warnings.catch_warnings():
        # Of the Hub's library: what a demo shows is meant to lie beside its app.
        warnings.filterwarnings("ignore", ".*commit a data file")
        return publish(
            lambda name, there: plan_space_push(folder, name, there, metadata),
            repo_id,
            card,
            _is_ours,
            message,
            repo_type="space",
            private=private,
            token=token,
        )


def requirements() -> str:
    """What a Space installs beside Gradio: this version of the package, and its libraries' here."""
    from twhin_hf.version import __version__

    lines = [f"twhin_hf[demo]=={__version__}"]
    for name in _PINNED:
        public, _, _ = metadata.version(name).partition("+")  # not of which build
        lines.append(f"{name}=={public}")
    return "\n".join(lines) + "\n"


def _with_model(
    folder: Path, name: str, place: str, going: dict[str, bytes | Path], left_behind: list[str]
) -> str:
    """Adds a model of this machine to what goes out; gives the place where the Space finds it."""
    source = folder / place if (folder / place).is_dir() else Path(place)
    if not source.is_dir():
        if looks_local(place):
            raise FileNotFoundError(f"there is no {place}, the {name} of the demo; make it again")
        return place
    if recommenders.is_recommender(source):
        raise InputError(f"{place} is a recommender and no encoder; make the demo again")
    found, others = model_files(source)
    going |= {f"{name}/{path}": file for path, file in found.items()}
    left_behind += [f"{name}/{path}" for path in others]
    return name


def _card(content: DemoContent, repo_id: str, given: CardMetadata, models: list[str]) -> str:
    settings, name = content.settings, repo_id.rpartition("/")[2]
    data: dict[str, Any] = {
        "title": name,
        "emoji": "🗺️",
        "colorFrom": "blue",
        "colorTo": "gray",
        "sdk": "gradio",
        "sdk_version": metadata.version("gradio"),
        "app_file": APP,
        "short_description": TITLE,
        "pinned": False,
        "tags": ["twhin_hf"],
    }
    optional = {"models": list(dict.fromkeys(models)), "datasets": given.datasets}
    data |= {key: value for key, value in optional.items() if value}
    if given.license:
        data["license"] = given.license
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    body = environment.from_string(_read("space.md.jinja")).render(
        name=as_text(name),
        num_posts=f"{len(content.texts):,}",
        compares=len(content.units) > 1,
        has_people=bool(content.ids or settings["audiences"]),
        has_recommender=bool(content.ids),
        is_generated=settings["is_generated"],
        floor=recommenders.FLOOR,
    )
    front = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n{body.strip()}\n"


def _check(content: DemoContent, folder: Path, going: dict[str, bytes | Path]) -> None:
    """Raises InputError where something must not go out."""
    check_link(POSTS, folder / POSTS)
    check_table(POSTS, folder / POSTS, ("audience", *content.units))
    with reading(folder / MAP, "Make the demo again (`twhin-hf demo --overwrite`)."):
        found = _MAP_DATA.search(content.map_page)
        texts = json.loads(found[1])["texts"] if found else []
    for name, shown in {MAP: texts, SETTINGS: content.settings["examples"]}.items():
        _check_texts(name, shown)
    # Vectors of users, which no model may bring, are in that one file.
    check_files({name: file for name, file in going.items() if name != _VECTORS})


def _check_texts(name: str, texts: list[str]) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pc.any(names_people(pa.array(texts, pa.string()))).as_py():
        raise InputError(
            f"{name} holds names or ids of people; make the demo again (`twhin-hf demo`)",
            faq="push-refused",
        )


def _is_ours(name: str) -> bool:
    parts = (MODEL, "stock", CLASSIFIER, RECOMMENDER)
    return name in (APP, REQUIREMENTS, SETTINGS, POSTS, MAP) or name.startswith(
        tuple(f"{part}/" for part in parts)
    )


def _read(name: str) -> str:
    folder = resources.files("twhin_hf.demo") / "templates"
    return (folder / name).read_text(encoding="utf-8")
