"""`twhin-hf serve`."""

from __future__ import annotations

from twhin_hf.serving.service.service_config import ServiceLimits


def serve(
    model: str,
    limits: ServiceLimits,
    encoder: str | None = None,
    index: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    events_log: str | None = None,
    revision: str | None = None,
) -> None:
    """Answer for vectors and recommendations over HTTP, and take new posts and engagements.

    /docs shows what may be asked. Whoever reaches the port may ask: with the variable
    TWHIN_HF_TOKEN set, only who sends it as a bearer token. Needs twhin_hf[serve].

    Args:
        model: Folder or Hub repository of `twhin-hf recommender fit`.
        limits: Limits of requests.
        encoder: Encoder in place of the model's own, such as its export, which is faster.
        index: Index of the model's post vectors, for questions that name no posts; posts that come
            later are not in it.
        host: Address to listen at; the default is reached from this machine alone.
        port: Port to listen at; 0 takes a free one.
        events_log: File (.jsonl) that events are added to, and taken from again at the next start;
            new posts go to a file beside it.
        revision: Revision of the repository.
    """
    from twhin_hf.loading.places import check_local_path
    from twhin_hf.serving.exported import check_libraries, load_frozen_encoder

    check_libraries("serve", ("fastapi", "uvicorn"))
    check_local_path(model)
    from twhin_hf.recommendation.model import EngagementModel
    from twhin_hf.serving.post_index import load_post_index
    from twhin_hf.serving.service.running import run_service

    loaded = EngagementModel.from_pretrained(
        model, encoder=load_frozen_encoder(encoder) if encoder else None, revision=revision
    )
    run_service(
        loaded,
        host,
        port,
        limits=limits,
        events_log=events_log,
        index=load_post_index(index, loaded) if index else None,
    )
