"""The service over HTTP, in this process: answers, limits, errors, events."""

import json
import threading

import numpy as np
import pytest
from four_groups import ENCODER

from twhin_hf.errors import InputError

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient

from twhin_hf.recommendation.model import EngagementModel
from twhin_hf.serving.service.app import create_app
from twhin_hf.serving.service.events_log import Engagement, EventsLog
from twhin_hf.serving.service.service import Service, replay
from twhin_hf.serving.service.service_config import ServiceLimits

NEW = [{"post_id": "n0", "text": "cat dog pet"}, {"post_id": "n1", "text": "goal match team"}]


@pytest.fixture
def start():
    """Makes clients of services, which end with the test."""
    services = []

    def make(model, log=None, token=None, hosts=None, index=None, **limits):
        allowed = ServiceLimits(**limits)
        services.append(Service(model, allowed, log, index))
        app = create_app(services[-1], allowed, token, hosts)
        return TestClient(app, raise_server_exceptions=False)

    yield make
    for service in services:
        service.close()


def ids(answer, key="recommendations"):
    assert answer.status_code == 200, answer.text
    return [[post["post_id"] for post in row] for row in answer.json()[key]]


def error(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.json().keys() == {"error"}
    return answer.json()["error"]


# --- answers ------------------------------------------------------------------------------------


def test_vectors_are_those_of_the_encoder_and_of_the_model(model, start):
    client = start(model)
    texts = ["cat dog", "goal"]
    found = client.post("/embed", json={"texts": texts}).json()
    assert np.array_equal(np.array(found["vectors"]), ENCODER.encode(texts))
    assert found["dimension"] == 17
    found = client.post("/embed", json={"texts": texts, "space": "posts"}).json()["vectors"]
    users = model.user_vectors(["u5"])
    expected = model.score(["u5"], _table(texts))
    np.testing.assert_allclose(users @ np.array(found, np.float32).T, expected, rtol=1e-5)


def _table(texts):
    import pyarrow as pa

    return pa.table({"post_id": [f"x{n}" for n in range(len(texts))], "text": texts})


def test_recommendations_are_those_of_the_model(model, start):
    client = start(model)
    expected = model.recommend(["u0", "u9"], k=5)
    answer = client.post("/recommend", json={"users": ["u0", "u9"], "k": 5})
    assert ids(answer) == expected.ids
    first = answer.json()["recommendations"][0][0]
    assert first["score"] == pytest.approx(float(expected.scores[0][0]))
    assert first["probability"] == pytest.approx(float(expected.probabilities[0][0]))
    # New posts; users 0 and 1 are of the groups of cats and of goals.
    answer = client.post("/recommend", json={"users": ["u4", "u5"], "posts": NEW, "k": 1})
    assert ids(answer) == [["n0"], ["n1"]]
    answer = client.post("/recommend", json={"users": ["u4"], "post_ids": ["p105", "p108"]})
    assert ids(answer) == model.recommend(["u4"], ["p105", "p108"]).ids
    seen = ids(client.post("/recommend", json={"users": ["u4"], "k": 500, "exclude_seen": False}))
    assert len(seen[0]) == model.num_posts  # k is beyond them


def test_histories_of_people_who_are_in_no_table(model, start):
    client = start(model)
    histories = [["p0", "p4", "p8"], []]
    answer = client.post("/recommend", json={"histories": histories, "k": 3})
    assert ids(answer) == model.recommend(vectors=model.fold_in(histories), k=3).ids


def test_similar_posts(model, start):
    client = start(model)
    answer = client.post("/similar", json={"post_ids": ["p0"], "k": 3})
    assert ids(answer, "similar") == model.similar_posts(["p0"], 3).ids
    answer = client.post("/similar", json={"texts": ["goal match team win"], "k": 3})
    assert {int(name[1:]) % 4 for name in ids(answer, "similar")[0]} == {1}
    assert answer.json()["similar"][0][0]["cosine"] > 0.9


def test_an_index_answers_where_no_posts_are_named(model, start):
    class Index:
        def search(self, queries, k, exclude=None):
            from types import SimpleNamespace

            rows = [["p7"] for _ in queries]
            return SimpleNamespace(post_ids=rows, scores=np.ones((len(queries), 1), np.float32))

    client = start(model, index=Index())
    assert ids(client.post("/recommend", json={"users": ["u0"]})) == [["p7"]]
    assert ids(client.post("/recommend", json={"users": ["u4"], "posts": NEW, "k": 1})) == [["n0"]]


def test_an_error_of_the_encoder_fails_its_batch_and_no_other(model, start):
    encode = model.encode

    def broken(texts):
        if "bad" in texts:
            raise RuntimeError("/home/somebody/secret")
        return encode(texts)

    model.encode = broken
    client = start(model)
    said = error(client.post("/embed", json={"texts": ["bad"]}), 500)
    assert said == "the service could not answer; its log tells why"
    assert client.post("/embed", json={"texts": ["cat"]}).status_code == 200


def test_health_and_the_page_of_examples(model, start):
    client = start(model)
    known = {"users": model.num_users, "posts": model.num_posts}
    assert client.get("/health").json() == {"status": "ok", **known}
    page = client.get("/docs")
    assert "curl http://testserver/recommend" in page.text
    assert "src=" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    said = client.get("/openapi.json").json()
    for path in ("/embed", "/recommend", "/similar", "/events"):
        reference = said["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        (example,) = said["components"]["schemas"][reference["schema"]["$ref"].split("/")[-1]][
            "examples"
        ]
        assert client.post(path, json=example).status_code in (200, 404)


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "asked", "status", "said"),
    [
        ("/recommend", {"users": ["nobody"]}, 404, "1 of 1 users are unknown ('nobody' for one)"),
        ("/recommend", {"users": ["u0"], "post_ids": ["p999"]}, 404, "1 of 1 posts are unknown"),
        ("/recommend", {"histories": [["p999"]]}, 404, "send them with their texts to /events"),
        ("/recommend", {"users": ["u0"], "k": 0}, 422, "k: Input should be greater"),
        ("/recommend", {"users": ["u0"], "k": 1001}, 422, "k is 1,001; 1,000 at most"),
        ("/recommend", {"users": ["u0"] * 200, "k": 200}, 422, "200 times 200 posts"),
        ("/recommend", {}, 422, "give users or histories: one of them"),
        ("/recommend", {"users": ["u0"], "histories": [[]]}, 422, "one of them"),
        ("/recommend", {"users": ["u0"], "posts": NEW, "post_ids": ["p1"]}, 422, "not both"),
        ("/recommend", {"users": [5]}, 422, "users.0: Input should be a valid string"),
        ("/recommend", {"user": ["u0"]}, 422, "user: Extra inputs are not permitted"),
        (
            *("/recommend", {"users": ["u0"], "posts": [{"post_id": "n", "text": " "}]}),
            *(422, "posts.0.text: it is empty"),
        ),
        ("/embed", {"texts": []}, 422, "texts: List should have at least 1 item"),
        ("/embed", {"texts": ["a"] * 257}, 413, "257 texts; 256 at most"),
        ("/embed", {"texts": ["a" * 10_001]}, 413, "a text of 10,001 characters"),
        ("/embed", {"texts": ["a" * 1_000_000]}, 413, "larger than 1,000,000 bytes"),
        ("/similar", {"post_ids": ["p999"]}, 404, "1 of 1 posts are unknown"),
        ("/events", {"engagements": [{"user_id": "u0", "post_id": "q"}]}, 404, "'q' for one"),
        ("/nothing", {}, 404, "/docs shows what may be asked"),
    ],
)
def test_bad_requests_are_told_in_plain_words(model, start, path, asked, status, said):
    assert said in error(start(model).post(path, json=asked), status)


def test_a_body_that_is_no_json(model, start):
    client = start(model)
    headers = {"Content-Type": "application/json"}
    said = error(client.post("/embed", content='{"texts": [', headers=headers), 400)
    assert said.startswith("the body is no JSON")
    # What a form on another site's page can send.
    headers = {"Content-Type": "text/plain"}
    said = error(client.post("/embed", content='{"texts": ["a"]}', headers=headers), 415)
    assert "Content-Type: application/json" in said
    headers = {"Content-Type": "application/json"}
    body = (b"x" * 100_000 for _ in range(20))  # of no stated length
    assert "larger than" in error(client.post("/embed", content=body, headers=headers), 413)


def test_half_a_character_is_no_reason_to_fail(model, start, tmp_path):
    log = EventsLog(tmp_path / "events.jsonl")
    body = '{"posts": [{"post_id": "n\\ud83d", "text": "cat \\ud83d"}]}'
    client = start(model, log)
    answer = client.post("/events", content=body, headers={"Content-Type": "application/json"})
    assert answer.json()["new_posts"] == 1
    assert json.loads((tmp_path / "events.posts.jsonl").read_text())["text"] == "cat \ufffd"


def test_a_token(model, start):
    client = start(model, token="a-secret-of-16-or-more")
    asked = {"json": {"texts": ["cat"]}}
    for given in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "a-secret-of-16-or-more"},
    ):
        answer = client.post("/embed", headers=given, **asked)
        assert "give the service's token" in error(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
    given = {"Authorization": "Bearer a-secret-of-16-or-more"}
    assert client.post("/embed", headers=given, **asked).status_code == 200
    assert client.get("/health").status_code == 200


def test_a_page_of_another_site_does_not_reach_it(model, start):
    client = start(model, hosts=("localhost", "127.0.0.1", "[::1]"))
    asked = {"json": {"texts": ["cat"]}}
    answer = client.post("/embed", headers={"Host": "rebound.example"}, **asked)
    assert "localhost alone" in error(answer, 421)
    for host in ("localhost:8000", "127.0.0.1", "[::1]:8000"):
        answer = client.post(
            "/embed", headers={"Host": host, "Origin": "http://a.example"}, **asked
        )
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers


def test_too_many_requests_are_asked_to_come_again(model, start):
    begun, go_on = threading.Event(), threading.Event()
    encode = model.encode

    def slow(texts):
        begun.set()
        go_on.wait(600)
        return encode(texts)

    model.encode = slow
    with start(model, max_requests=1) as client:
        answers = []
        thread = threading.Thread(
            target=lambda: answers.append(client.post("/embed", json={"texts": ["cat"]}))
        )
        thread.start()
        assert begun.wait(600)
        refused = client.post("/embed", json={"texts": ["dog"]})
        assert "come again" in error(refused, 503)
        assert refused.headers["retry-after"] == "1"
        assert client.get("/health").status_code == 200
        go_on.set()
        thread.join()
        assert answers[0].status_code == 200
        assert client.post("/embed", json={"texts": ["dog"]}).status_code == 200


def test_a_request_that_does_not_arrive_keeps_no_place(monkeypatch):
    import asyncio

    from twhin_hf.serving.service import gate

    monkeypatch.setattr(gate, "_BODY_SECONDS", 0.01)
    sent = []

    async def ask():
        async def send(message):
            sent.append(message)

        async def receive():
            await asyncio.sleep(60)

        scope = {"type": "http", "path": "/embed", "headers": []}
        await gate.Gate(None, max_requests=1, max_body=10)(scope, receive, send)

    asyncio.run(ask())
    assert sent[0]["status"] == 408
    assert b"did not arrive in time" in sent[1]["body"]


def test_no_answer_names_other_people_or_places(model, start, tmp_path):
    """Whatever is asked wrongly, ids of the tables and paths stay inside."""
    client = start(model, EventsLog(tmp_path / "events.jsonl"))
    for path, asked in (
        ("/recommend", {"users": ["nobody"]}),
        ("/recommend", {"users": ["u0"], "post_ids": ["nothing"]}),
        ("/similar", {"post_ids": ["nothing"]}),
        ("/events", {"engagements": [{"user_id": "nobody", "post_id": "nothing"}]}),
    ):
        said = client.post(path, json=asked).text
        assert str(tmp_path) not in said
        assert "Traceback" not in said
        words = {word.strip("('\")") for word in said.split()}
        assert not words & (set(model.users.ids) | set(model.posts.ids)) - {"u0"}


# --- events -------------------------------------------------------------------------------------


def test_events_count_at_once_and_the_same_again_changes_nothing(model, start):
    client = start(model)
    liked = ["n0", "p0", "p4"]
    told = {
        "posts": NEW[:1],
        "engagements": [{"user_id": "new", "post_id": post} for post in liked],
    }
    assert "unknown" in error(client.post("/recommend", json={"users": ["new"]}), 404)
    answer = client.post("/events", json=told).json()
    assert answer == {"new_posts": 1, "new_users": 1, "new_engagements": 3}
    [first] = ids(client.post("/recommend", json={"users": ["new"], "k": 5}))
    assert not set(first) & set(liked)
    assert {int(name[1:]) % 4 for name in first} == {0}
    vectors = model.users["vectors"].copy(), model.post_vectors().copy()
    answer = client.post("/events", json=told).json()
    assert answer == {"new_posts": 0, "new_users": 0, "new_engagements": 0}
    assert np.array_equal(model.users["vectors"], vectors[0])
    assert np.array_equal(model.post_vectors(), vectors[1])


def test_events_are_there_at_the_next_start(model_folder, model, start, tmp_path):
    path = tmp_path / "log" / "events.jsonl"
    log = EventsLog(path)
    told = {
        "posts": NEW,
        "engagements": [
            {"user_id": "new", "post_id": "n0", "relation": "like", "timestamp": "2026-01-31"},
            {"user_id": "u3", "post_id": "n1"},
        ],
    }
    client = start(model, log)
    for _ in range(2):
        assert client.post("/events", json=told).status_code == 200
    with pytest.raises(InputError, match="another service writes to"):
        EventsLog(path)
    log.close()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    first = {"user_id": "new", "post_id": "n0", "relation": "like", "timestamp": "2026-01-31"}
    assert rows[0] == first
    assert rows[1].keys() == first.keys()
    assert rows[1]["relation"] == "engage"
    assert len(rows) == 2
    later = EngagementModel.from_pretrained(model_folder, encoder=ENCODER)
    assert replay(later, EventsLog(path)) == (2, 1, 2)
    np.testing.assert_allclose(later.users["vectors"], model.users["vectors"], atol=1e-5)
    np.testing.assert_allclose(later.post_vectors(), model.post_vectors(), atol=1e-5)


def test_the_events_log_is_a_log_of_engagements(model, start, tmp_path):
    """What the next day's network is made of."""
    from twhin_hf.network.log import read_log

    log = EventsLog(tmp_path / "events.jsonl")
    told = {"posts": NEW, "engagements": [{"user_id": "new", "post_id": "n0"}]}
    assert start(model, log).post("/events", json=told).status_code == 200
    graph = read_log(tmp_path / "events.jsonl", tmp_path / "events.posts.jsonl")
    assert graph.user_ids.to_pylist() == ["new"]
    assert graph.post_ids.to_pylist() == ["n0"]


def test_a_line_that_was_broken_off_goes_and_others_stay(tmp_path, caplog):
    path = tmp_path / "events.jsonl"
    log = EventsLog(path)
    log.append([("n0", "cat")], [Engagement("u", "n0")])
    log.close()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"user_id": "v", "po')
    log = EventsLog(path)
    assert "was broken off" in caplog.text
    assert path.read_bytes() == whole
    assert log.engagements == [Engagement("u", "n0")]
    log.append([], [Engagement("u", "n0"), Engagement("v", "n0"), Engagement("v", "n0")])
    log.close()
    assert [one.user_id for one in EventsLog(path).engagements] == ["u", "v"]


def test_a_full_disk_leaves_the_log_whole(tmp_path, monkeypatch):
    path = tmp_path / "events.jsonl"
    log = EventsLog(path)
    log.append([("n0", "cat")], [Engagement("u", "n0")])
    before = path.read_bytes()

    def full(number):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            log.append([], [Engagement("v", "n0")])
    assert path.read_bytes() == before
    log.append([], [Engagement("v", "n0")])
    log.close()
    assert len(EventsLog(path).engagements) == 2


@pytest.mark.parametrize("line", ["no json", "[1]", '{"user_id": "u"}', '{"user_id": 1}'])
def test_a_log_that_is_none(line, tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(InputError, match=r"events\.jsonl"):
        EventsLog(path)
