"""A local hub: the endpoints of ModelScope and of Hugging Face that their clients use to push and to fetch.

It follows the clients' own source (modelscope 1.40, huggingface_hub 1.33). A repository is a set of files. ModelScope's
client also uses git (clone, push of .gitattributes); `git http-backend` serves these calls from a bare repository.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "ms-0123456789abcdef"
GIT_TOKEN = "git-0123456789abcdef"


class Hub:
    """A hub that lives as long as its `with` block.

    Args:
        folder: for its git repositories and the clients' caches and credentials.

    Attributes:
        repos: content of each file of each repository.
        calls: methods and paths of all requests.
        refuse: whether a request is answered by status 403.
        lose: whether a file is forgotten although its commit is reported as done.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repos: dict[str, dict[str, bytes]] = {}
        self.blobs: dict[str, bytes] = {}
        self.calls: list[str] = []
        self.refuse: Callable[[str], bool] = lambda call: False
        self.lose: Callable[[str], bool] = lambda path: False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Hub:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def env(self) -> dict[str, str]:
        """Variables that make the clients use this hub. ModelScope's client asks git for https; git rewrites this."""
        host = self.url.removeprefix("http://")
        home = self.folder / "home"
        return {
            "MODELSCOPE_ENDPOINT": self.url,
            "MODELSCOPE_DOMAIN": host,
            "MODELSCOPE_HOME": str(home / "modelscope"),
            "MODELSCOPE_CREDENTIALS_PATH": str(home / "modelscope/credentials"),
            "MODELSCOPE_CACHE": str(home / "modelscope_cache"),
            "MODELSCOPE_API_MAX_RETRIES": "1",
            "MODELSCOPE_UPLOAD_COMMIT_MAX_ATTEMPTS": "1",
            "MODELSCOPE_UPLOAD_FAILED_FILE_MAX_RETRY_ROUNDS": "1",
            "MODELSCOPE_API_TOKEN": TOKEN,
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home / "huggingface"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": TOKEN,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.http://oauth2:{GIT_TOKEN}@{host}/.insteadOf",
            "GIT_CONFIG_VALUE_0": f"https://oauth2:{GIT_TOKEN}@{host}/",
            "no_proxy": "127.0.0.1",
        }

    def create(self, name: str) -> bool:
        """Make a repository with a first commit, as ModelScope does. Returns whether it is new."""
        if name in self.repos:
            return False
        self.repos[name] = {".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}
        bare = self.folder / "git" / f"{name}.git"
        _git("init", "--quiet", "--bare", "--initial-branch=master", str(bare))
        _git("-C", str(bare), "config", "http.receivepack", "true")
        stream = b"commit refs/heads/master\ncommitter Hub <hub@localhost> 1 +0000\ndata 5\nfirst\n"
        for path, content in self.repos[name].items():
            stream += b"M 644 inline %s\ndata %d\n%s\n" % (path.encode(), len(content), content)
        _git("-C", str(bare), "fast-import", "--quiet", data=stream)
        return True

    def put(self, name: str, path: str, content: bytes) -> None:
        """Store a file of a commit."""
        if not self.lose(path):
            self.repos[name][path] = content

    def sha(self, name: str) -> str:
        """An identifier of the last commit."""
        content = sorted((path, hashlib.sha1(data).hexdigest()) for path, data in self.repos[name].items())
        return hashlib.sha1(repr(content).encode()).hexdigest()

    def read_git(self, name: str) -> None:
        """Read the files that were pushed with git."""
        bare = str(self.folder / "git" / f"{name}.git")
        for path in _git("-C", bare, "ls-tree", "-r", "--name-only", "master").decode().split():
            self.put(name, path, _git("-C", bare, "show", f"master:{path}"))


def _git(*words: str, data: bytes = b"") -> bytes:
    env = os.environ | {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    return subprocess.run(["git", *words], input=data, capture_output=True, check=True, env=env).stdout


def _needs_lfs(path: str) -> bool:
    return path.endswith((".safetensors", ".bin", ".pt", ".pth"))


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def _serve(self) -> None:
        url = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.body = self._read_body()
        call = f"{self.command} {unquote(url.path)}"
        self.hub.calls.append(call)
        if self.hub.refuse(call):
            self._json({"Code": 403, "Message": "not today", "error": "not today"}, 403)
            return
        for pattern, answer in _ANSWERS:
            found = re.fullmatch(pattern, call)
            if found:
                name = found.groupdict().get("name")
                if name is not None and name not in self.hub.repos:
                    self._json({"Code": 404, "Message": "no such repository", "error": "no such repository"}, 404)
                    return
                answer(self, **found.groupdict())
                return
        self._json({"Code": 404, "Message": f"unknown: {call}", "error": f"unknown: {call}"}, 404)

    do_GET = do_HEAD = do_POST = do_PUT = _serve

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _send(self, data: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "application/octet-stream"} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _json(self, data: Any, status: int = 200, **headers: str) -> None:
        self._send(json.dumps(data).encode(), status, **({"Content-Type": "application/json"} | headers))

    def _done(self, data: Any) -> None:
        """A response in ModelScope's form."""
        self._json({"Code": 200, "Success": True, "Message": "success", "Data": data})

    def _authorised(self) -> bool:
        if TOKEN in self.headers.get("Authorization", "") + self.headers.get("Cookie", ""):
            return True
        self._json({"Code": 401, "Message": "who are you?", "error": "who are you?"}, 401)
        return False

    # ModelScope

    def login(self) -> None:
        if json.loads(self.body)["AccessToken"] == TOKEN:
            self._done({"AccessToken": GIT_TOKEN, "Username": "tester", "Email": "tester@localhost"})
        else:
            self._json({"Code": 401, "Message": "wrong token"}, 401)

    def me(self) -> None:
        self._json({"success": True, "data": {"username": "tester", "email": "tester@localhost"}})

    def ms_create(self) -> None:
        asked = json.loads(self.body)
        if not self._authorised():
            return
        if self.hub.create(f"{asked['Path']}/{asked['Name']}"):
            self._done({"Path": asked["Path"], "Name": asked["Name"]})
        else:
            self._json({"Code": 400, "Message": "the name already exists"}, 400)

    def ms_info(self, name: str) -> None:
        owner, _, short = name.partition("/")
        self._done({"Path": owner, "Name": short})

    def ms_files(self, name: str) -> None:
        entries = [
            {"Path": path, "Name": path.rpartition("/")[2], "Type": "blob", "Size": len(data)}
            | {"Sha256": hashlib.sha256(data).hexdigest(), "Revision": self.hub.sha(name)}
            for path, data in self.hub.repos[name].items()
        ]
        self._done({"Files": entries})

    def ms_file(self, name: str) -> None:
        self._file(self.hub.repos[name].get(self.query["FilePath"]))

    def ms_blobs(self, name: str) -> None:
        if self._authorised():
            self._done({"objects": self._wanted()})

    def ms_commit(self, name: str, revision: str) -> None:
        if not self._authorised():
            return
        for action in json.loads(self.body)["actions"]:
            if action["type"] == "lfs":
                self.hub.put(name, action["path"], self.hub.blobs[action["sha256"]])
            else:
                self.hub.put(name, action["path"], base64.b64decode(action["content"]))
        self._done({"CommitId": self.hub.sha(name)})

    def git(self, name: str, rest: str) -> None:
        env = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.hub.folder / "git"),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": f"/{name}.git/{rest}",
            "QUERY_STRING": urlsplit(self.path).query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(self.body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "REMOTE_USER": "tester",
            "REMOTE_ADDR": "127.0.0.1",
        }
        words = ["git", "http-backend"]
        done = subprocess.run(words, input=self.body, env=env, capture_output=True, check=True).stdout
        head, _, body = done.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
        status = int(headers.pop("Status", "200").split()[0])
        if rest == "git-receive-pack":
            self.hub.read_git(name)
        self._send(body, status, **headers)

    # Hugging Face

    def hf_create(self) -> None:
        asked = json.loads(self.body)
        name = f"{asked.get('organization') or 'tester'}/{asked['name']}"
        if not self._authorised():
            return
        if self.hub.create(name):
            self._json({"url": f"{self.hub.url}/{name}", "name": name, "id": name})
        else:
            self._json({"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"}, 409)

    def hf_yaml(self) -> None:
        self._json({"warnings": [], "errors": []})

    def hf_modes(self, name: str) -> None:
        files = [
            {"path": f["path"], "uploadMode": "lfs" if _needs_lfs(f["path"]) else "regular", "shouldIgnore": False}
            for f in json.loads(self.body)["files"]
        ]
        self._json({"files": files})

    def hf_blobs(self, name: str) -> None:
        if self._authorised():
            self._json({"transfer": "basic", "objects": self._wanted()})

    def hf_commit(self, name: str) -> None:
        if not self._authorised():
            return
        for line in self.body.splitlines():
            kind, value = json.loads(line).values()
            if kind == "file":
                self.hub.put(name, value["path"], base64.b64decode(value["content"]))
            elif kind == "lfsFile":
                self.hub.put(name, value["path"], self.hub.blobs[value["oid"]])
        url = f"{self.hub.url}/{name}/commit/{self.hub.sha(name)}"
        self._json({"success": True, "commitOid": self.hub.sha(name), "commitUrl": url, "hookOutput": ""})

    def hf_info(self, name: str) -> None:
        siblings = [{"rfilename": path} for path in self.hub.repos[name]]
        self._json({"id": name, "modelId": name, "sha": self.hub.sha(name), "siblings": siblings, "private": False})

    def hf_tree(self, name: str) -> None:
        entries = []
        for path, data in self.hub.repos[name].items():
            blob = hashlib.sha1(b"blob %d\0%s" % (len(data), data)).hexdigest()
            entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": blob}
            if _needs_lfs(path):
                entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
            entries.append(entry)
        self._json(entries)

    def hf_file(self, name: str, path: str) -> None:
        content = self.hub.repos[name].get(path)
        etag = hashlib.sha256(content or b"").hexdigest()
        self._file(content, ETag=f'"{etag}"', X_Repo_Commit=self.hub.sha(name))

    # both

    def blob(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            self._json({"Code": 400, "Message": "damaged"}, 400)
            return
        self.hub.blobs[oid] = self.body
        self._json({"Code": 200})

    def _wanted(self) -> list[dict[str, Any]]:
        """Upload addresses for objects of the git LFS batch protocol; objects that exist already get none."""
        objects = json.loads(self.body)["objects"]
        return [
            o if o["oid"] in self.hub.blobs else o | {"actions": {"upload": {"href": f"{self.hub.url}/lfs/{o['oid']}"}}}
            for o in objects
        ]

    def _file(self, content: bytes | None, **headers: str) -> None:
        if content is None:
            self._json({"Code": 404, "Message": "no such file", "error": "Entry not found"}, 404)
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            self._send(content, **headers)
            return
        first, last = int(wanted[1]), min(int(wanted[2] or len(content) - 1), len(content) - 1)
        headers["Content_Range"] = f"bytes {first}-{last}/{len(content)}"
        self._send(content[first : last + 1], 206, **headers)


_NAME = r"(?P<name>[^/]+/[^/]+)"
_ANSWERS: list[tuple[str, Callable[..., None]]] = [
    (r"POST /api/v1/login", _Handler.login),
    (r"GET /openapi/v1/users/me", _Handler.me),
    (r"POST /api/v1/models", _Handler.ms_create),
    (rf"GET /api/v1/models/{_NAME}", _Handler.ms_info),
    (rf"GET /api/v1/models/{_NAME}/repo/files", _Handler.ms_files),
    (rf"(?:GET|HEAD) /api/v1/models/{_NAME}/repo", _Handler.ms_file),
    (rf"POST /api/v1/repos/models/{_NAME}/info/lfs/objects/batch", _Handler.ms_blobs),
    (rf"POST /api/v1/repos/models/{_NAME}/commit/(?P<revision>[^/]+)", _Handler.ms_commit),
    (r"POST /api/repos/create", _Handler.hf_create),
    (r"POST /api/validate-yaml", _Handler.hf_yaml),
    (rf"POST /api/models/{_NAME}/preupload/[^/]+", _Handler.hf_modes),
    (rf"POST /{_NAME}\.git/info/lfs/objects/batch", _Handler.hf_blobs),
    (rf"POST /api/models/{_NAME}/commit/[^/]+", _Handler.hf_commit),
    (rf"GET /api/models/{_NAME}(?:/revision/[^/]+)?", _Handler.hf_info),
    (rf"GET /api/models/{_NAME}/tree/[^/]+", _Handler.hf_tree),
    (rf"(?:GET|HEAD) /{_NAME}/resolve/[^/]+/(?P<path>.+)", _Handler.hf_file),
    (r"PUT /lfs/(?P<oid>[0-9a-f]{64})", _Handler.blob),
    (rf"(?:GET|POST) /{_NAME}\.git/(?P<rest>info/refs|git-upload-pack|git-receive-pack)", _Handler.git),
]
"""Methods and paths, with the functions that answer them."""
