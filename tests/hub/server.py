"""A Hub of one process: what the real client asks for when it pushes and loads, kept in memory.

It breaks off where a test wants it to: `hub.fail("POST", "/commit/", 500, times=2)`.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

DATE = "2026-01-01T00:00:00.000Z"
CUT = 0
"""In place of a status: the connection is closed without an answer."""
ROLES = {"hf_owner": "write", "hf_reader": "read"}
"""Tokens, all of the user `me`."""
LARGE = (".safetensors", ".png", ".parquet")
REPO = r"(?P<repo>(?:(?:datasets|spaces)/)?[^/]+/[^/]+)"
"""A repository as it is called here: that of a data set or Space has its kind in front."""


@dataclass
class Fault:
    method: str
    part: str
    status: int
    times: int
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Repo:
    private: bool
    commits: list[dict[str, bytes]] = field(default_factory=lambda: [{}])
    number: int = field(default_factory=itertools.count().__next__)  # addresses come again

    def sha(self, number: int = -1) -> str:
        number %= len(self.commits)
        return hashlib.sha1(f"{self.number} {number}".encode()).hexdigest()

    def files(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision == "main":
            return self.sha(), self.commits[-1]
        for number, files in enumerate(self.commits):
            if self.sha(number) == revision:
                return revision, files
        return None


class Hub:
    """The state of the server, for tests to look at."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.large: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.endpoint = ""

    def fail(self, method: str, part: str, status: int, times: int = 1, **headers: str) -> None:
        """The next requests whose path holds `part` get a status and no more."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.faults.append(Fault(method, part, status, times, named))

    def add(self, repo: str, files: dict[str, bytes]) -> None:
        """A public repository that is there already."""
        self.repos[repo] = Repo(private=False, commits=[{}, files])

    def count(self, method: str, part: str) -> int:
        """How many requests there were."""
        return sum(line.startswith(method + " ") and part in line for line in self.requests)

    def text(self, repo: str, path: str) -> str:
        """A file of the newest commit."""
        return self.repos[repo].commits[-1][path].decode()


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Serves on a free port of this machine."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def blob_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_large(path: str) -> bool:
    return path.endswith(LARGE)


def oid_of(path: str, content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if is_large(path) else blob_oid(content)


class _Handler(BaseHTTPRequestHandler):
    hub: ClassVar[Hub]
    protocol_version = "HTTP/1.1"
    timeout = 20

    ROUTES: ClassVar[list[tuple[str, str, str]]] = [
        ("GET", r"/api/whoami-v2", "whoami"),
        ("POST", r"/api/repos/create", "create"),
        ("POST", r"/api/validate-yaml", "validate"),
        ("POST", rf"/api/(?:models/)?{REPO}/preupload/(?P<revision>[^/]+)", "preupload"),
        ("POST", rf"/api/(?:models/)?{REPO}/commit/(?P<revision>[^/]+)", "commit"),
        ("POST", rf"/api/(?:models/)?{REPO}/paths-info/(?P<revision>[^/]+)", "paths_info"),
        (
            "GET",
            rf"/api/(?:models/)?{REPO}/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?",
            "tree",
        ),
        ("GET", rf"/api/(?:models/)?{REPO}(?:/revision/(?P<revision>[^/]+))?", "info"),
        ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", "batch"),
        ("POST", r"/lfs/verify", "verify"),
        ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", "put"),
        ("GET", rf"/{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
    ]

    def log_message(self, *args: Any) -> None:
        """Silent."""

    def do_GET(self) -> None:
        self.handle_request("GET")

    def do_HEAD(self) -> None:
        self.handle_request("GET")

    def do_POST(self) -> None:
        self.handle_request("POST")

    def do_PUT(self) -> None:
        self.handle_request("PUT")

    def handle_request(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        for fault in self.hub.faults:
            if fault.times and fault.method == self.command and fault.part in path:
                fault.times -= 1
                if fault.status == CUT:
                    self.rfile.read(int(self.headers.get("Content-Length", 0)) // 2)
                    self.close_connection = True
                    return
                self.body()
                self.answer(fault.status, {"error": "as the test wanted"}, **fault.headers)
                return
        for verb, pattern, name in self.ROUTES:
            match = re.fullmatch(pattern, path)
            if verb == method and match:
                getattr(self, name)(**match.groupdict())
                return
        self.body()
        self.answer(404, {"error": f"no route {method} {path}"})

    # Helpers

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, status: int, value: Any = None, **headers: str) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", headers.pop("Content-Length", str(len(content))))
        for name, header in headers.items():
            self.send_header(name, header)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def role(self) -> str | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return ROLES.get(token)

    def may_write(self) -> bool:
        if self.role() == "write":
            return True
        self.body()
        status = 403 if self.role() else 401
        self.answer(status, {"error": "You may not write here"})
        return False

    def repo_seen(self, repo: str) -> Repo | None:
        """The repository, where the asker may see it."""
        found = self.hub.repos.get(repo)
        if found is None or (found.private and not self.role()):
            status = 404 if self.role() else 401
            self.answer(status, {"error": "Not found"}, **{"X-Error-Code": "RepoNotFound"})
            return None
        return found

    def files_seen(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        found = self.repo_seen(repo)
        if found is None:
            return None
        files = found.files(revision)
        if files is None:
            self.answer(404, {"error": "?"}, **{"X-Error-Code": "RevisionNotFound"})
        return files

    # Routes

    def whoami(self) -> None:
        role = self.role()
        if role is None:
            self.answer(401, {"error": "Invalid credentials"})
        else:
            self.answer(200, {"name": "me", "auth": {"accessToken": {"role": role}}})

    def create(self) -> None:
        if not self.may_write():
            return
        wanted = json.loads(self.body())
        repo = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
        if wanted.get("type") == "space" and wanted.get("sdk") != "gradio":
            self.answer(400, {"error": "a Space needs an SDK"})
            return
        if wanted.get("type") in ("dataset", "space"):
            repo = f"{wanted['type']}s/{repo}"
        url = f"{self.hub.endpoint}/{repo}"
        if repo in self.hub.repos:
            self.answer(409, {"error": "exists", "url": url})
            return
        private = wanted.get("private") or wanted.get("visibility") == "private"
        self.hub.repos[repo] = Repo(bool(private))
        self.answer(200, {"url": url, "name": repo, "id": repo})

    def validate(self) -> None:
        self.body()
        self.answer(200, {"errors": [], "warnings": []})

    def preupload(self, repo: str, revision: str) -> None:
        if not self.may_write():
            return
        there = self.hub.repos[repo].commits[-1]
        self.answer(
            200,
            {
                "files": [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if is_large(file["path"]) else "regular",
                        "shouldIgnore": False,
                        "oid": oid_of(file["path"], there[file["path"]])
                        if file["path"] in there
                        else None,
                    }
                    for file in json.loads(self.body())["files"]
                ]
            },
        )

    def commit(self, repo: str, revision: str) -> None:
        if not self.may_write():
            return
        found = self.hub.repos[repo]
        files = dict(found.commits[-1])
        for line in self.body().splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif item["key"] == "deletedFile":
                del files[value["path"]]
        found.commits.append(files)
        oid = found.sha()
        url = f"{self.hub.endpoint}/{repo}/commit/{oid}"
        self.answer(200, {"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})

    def info(self, repo: str, revision: str | None) -> None:
        files = self.files_seen(repo, revision or "main")
        if files:
            self.answer(
                200,
                {
                    "_id": repo,
                    "id": repo.removeprefix("datasets/").removeprefix("spaces/"),
                    "modelId": repo,
                    "author": "me",
                    "sha": files[0],
                    "lastModified": DATE,
                    "createdAt": DATE,
                    "private": self.hub.repos[repo].private,
                    "gated": False,
                    "disabled": False,
                    "tags": [],
                    "downloads": 0,
                    "likes": 0,
                    "siblings": [
                        _sibling(name, files[1][name], "blobs=" in self.path)
                        for name in sorted(files[1])
                    ],
                },
            )

    def tree(self, repo: str, revision: str, path: str | None) -> None:
        files = self.files_seen(repo, revision)
        if not files:
            return
        prefix = f"{path}/" if path else ""
        names = [name for name in sorted(files[1]) if name.startswith(prefix)]
        if path and not names:
            self.answer(404, {"error": "?"}, **{"X-Error-Code": "EntryNotFound"})
            return
        entries = [_tree_entry(name, files[1][name]) for name in names]
        if parse_qs(urlsplit(self.path).query).get("recursive", ["true"])[0].lower() != "true":
            inner = {
                name[len(prefix) :].partition("/")[0]
                for name in names
                if "/" in name[len(prefix) :]
            }
            entries = [e for e in entries if "/" not in e["path"][len(prefix) :]]
            entries += [_folder_entry(prefix + name) for name in sorted(inner)]
        self.answer(200, entries)

    def paths_info(self, repo: str, revision: str) -> None:
        content = self.body().decode()
        is_json = "json" in self.headers.get("Content-Type", "")
        asked = json.loads(content)["paths"] if is_json else parse_qs(content)["paths"]
        files = self.files_seen(repo, revision)
        if not files:
            return
        found = []
        for path in asked if isinstance(asked, list) else [asked]:
            if path in files[1]:
                found.append(_tree_entry(path, files[1][path]))
            elif any(name.startswith(f"{path}/") for name in files[1]):
                found.append(_folder_entry(path))
        self.answer(200, found)

    def batch(self, repo: str) -> None:
        if not self.may_write():
            return
        objects = []
        for item in json.loads(self.body())["objects"]:
            entry = {"oid": item["oid"], "size": item["size"]}
            if item["oid"] not in self.hub.large:
                entry["actions"] = {
                    "upload": {"href": f"{self.hub.endpoint}/lfs/{item['oid']}"},
                    "verify": {"href": f"{self.hub.endpoint}/lfs/verify"},
                }
            objects.append(entry)
        self.answer(200, {"transfer": "basic", "objects": objects})

    def put(self, oid: str) -> None:
        content = self.body()
        if hashlib.sha256(content).hexdigest() != oid:
            self.answer(400, {"error": "other content"})
            return
        self.hub.large[oid] = content
        self.answer(200, {})

    def verify(self) -> None:
        known = json.loads(self.body())["oid"] in self.hub.large
        self.answer(200 if known else 404, {})

    def resolve(self, repo: str, revision: str, path: str) -> None:
        files = self.files_seen(repo, revision)
        if not files:
            return
        commit = {"X-Repo-Commit": files[0]}
        if path not in files[1]:
            self.answer(404, {"error": "?"}, **commit, **{"X-Error-Code": "EntryNotFound"})
            return
        content = files[1][path]
        etag = f'"{oid_of(path, content)}"'
        headers = commit | {"ETag": etag, "Accept-Ranges": "bytes"}
        if is_large(path):
            headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(len(content))}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not asked:
            self.answer(200, content, **headers)
            return
        first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        self.answer(206, content[first : last + 1], **headers)


def _folder_entry(name: str) -> dict[str, Any]:
    return {"type": "directory", "oid": blob_oid(name.encode()), "size": 0, "path": name}


def _sibling(name: str, content: bytes, with_blobs: bool) -> dict[str, Any]:
    if not with_blobs:
        return {"rfilename": name}
    entry = {"rfilename": name, "size": len(content), "blobId": blob_oid(content)}
    if is_large(name):
        digest = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 130}
    return entry


def _tree_entry(name: str, content: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "type": "file",
        "oid": blob_oid(content),
        "size": len(content),
        "path": name,
    }
    if is_large(name):
        oid = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 130}
    return entry
