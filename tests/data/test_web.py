"""Files behind addresses, from a server on this machine that breaks off, redirects and lies.

Only these tests may connect to the machine itself: `allowed` is a parameter of `fetch`, and nothing
that a user can set.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from tunewright.data import public_address, web
from tunewright.data.public_address import is_public
from tunewright.data.sources import load, load_splits
from tunewright.errors import DataError

ROWS = "".join(
    json.dumps({"text": f"row {i} about {i * 13}", "label": "ab"[i % 2]}) + "\n" for i in range(400)
).encode()
Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


class Server:
    """Answers by path, and keeps what it was asked."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append((self.path, dict(self.headers)))
                outer.answers[self.path.partition("?")[0]](self)

            def log_message(self, *arguments: object) -> None:
                return None

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def give(
    body: bytes, status: int = 200, kind: str = "application/octet-stream", **headers: str
) -> Answer:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def break_off(body: bytes, first: int, etag: str, each: int | None = None) -> Answer:
    """Answer as a server with ranges does, but end each answer too early, until all is there."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        asked = re.match(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        start = int(asked[1]) if asked and handler.headers.get("If-Range") == etag else 0
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        handler.send_header("Content-Length", str(len(body) - start))
        handler.send_header("ETag", etag)
        handler.end_headers()
        length = first if start == 0 else (each or len(body))
        handler.wfile.write(body[start : start + length])

    return answer


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    monkeypatch.setenv("TUNEWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(web.time, "sleep", lambda seconds: None)

    def run(url: str, **options) -> Path:
        options = {"allowed": lambda address: True, "timeout": 2.0} | options
        return web.fetch(url, **options)

    return run


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "0.0.0.0", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1",
        "198.18.0.1", "::1", "::", "fe80::1", "fc00::1", "fd12::1", "fec0::1", "ff02::1",
        "2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::",
        "64:ff9b::a00:1", "64:ff9b::7f00:1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.215.14", "2606:4700::1111", "64:ff9b::808:808"]
)
def test_addresses_that_are_public(address):
    assert is_public(ip_address(address))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0", "127.1", "2130706433"])
def test_this_machine_is_never_asked(server, tmp_path, host):
    server.answers["/rows.jsonl"] = give(ROWS)
    with pytest.raises(DataError, match=r"not a public address|is not known|Connection refused"):
        web.fetch(server.url("/rows.jsonl", host), tmp_path)
    assert server.asked == []


def test_a_redirect_to_a_private_address_is_refused(server, fetch):
    target = server.url("/secret", "127.0.0.2")
    server.answers["/rows.jsonl"] = give(b"", 302, Location=target)
    first = ip_address("127.0.0.1")
    with pytest.raises(DataError, match=r"leads to 127\.0\.0\.2, which is not a public address"):
        fetch(server.url("/rows.jsonl"), allowed=lambda address: address == first)
    assert [path for path, _ in server.asked] == ["/rows.jsonl"]


def test_a_name_is_resolved_once_so_that_it_cannot_change_its_mind(server, fetch, monkeypatch):
    server.answers["/rows.jsonl"] = give(ROWS)
    asked = []

    def resolve(host, port, *rest, **options):
        asked.append(host)
        return real(host if host != "rows.example" else "127.0.0.1", port, *rest, **options)

    real = public_address.socket.getaddrinfo
    monkeypatch.setattr(public_address.socket, "getaddrinfo", resolve)
    fetch(f"http://rows.example:{server.port}/rows.jsonl")
    assert asked.count("rows.example") == 1
    assert server.asked[0][1]["Host"] == f"rows.example:{server.port}"


def test_one_private_address_among_many_refuses_the_name(fetch, monkeypatch):
    found = [(2, 1, 6, "", (address, 80)) for address in ("93.184.215.14", "10.0.0.7")]
    monkeypatch.setattr(public_address.socket, "getaddrinfo", lambda *a, **k: found)
    with pytest.raises(DataError, match=r"leads to 10\.0\.0\.7"):
        fetch("http://rows.example/rows.jsonl", allowed=is_public)


def test_a_file_is_fetched_once_and_then_read_from_the_cache(server, fetch):
    server.answers["/rows.jsonl"] = give(ROWS)
    url = server.url("/rows.jsonl?version=2&token=hush")
    path = fetch(url)
    assert (path.name, path.read_bytes()) == ("rows.jsonl", ROWS)
    origin = json.loads((path.parents[1] / "origin.json").read_text(encoding="utf-8"))
    assert origin["sha256"] == hashlib.sha256(ROWS).hexdigest()
    assert origin["bytes"] == len(ROWS)
    assert "hush" not in json.dumps(origin)
    assert fetch(url, allowed=is_public) == path
    assert len(server.asked) == 1
    assert server.asked[0][0] == "/rows.jsonl?version=2&token=hush"


def test_two_that_want_the_same_file_fetch_it_once(server, fetch):
    begun, go_on = threading.Event(), threading.Event()

    def slowly(handler):
        begun.set()
        go_on.wait(5)
        give(ROWS)(handler)

    server.answers["/rows.jsonl"] = slowly
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(fetch(server.url("/rows.jsonl"))))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
        begun.wait(5)
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert len(found) == 2
    assert found[0] == found[1]
    assert len(server.asked) == 1


def test_a_damaged_note_of_its_origin_is_as_none(server, fetch):
    server.answers["/rows.jsonl"] = give(ROWS)
    path = fetch(server.url("/rows.jsonl"))
    (path.parents[1] / "origin.json").write_text("{", encoding="utf-8")
    assert fetch(server.url("/rows.jsonl")).read_bytes() == ROWS
    assert len(server.asked) == 2


def test_a_cached_file_that_was_damaged_is_fetched_again(server, fetch):
    server.answers["/rows.jsonl"] = give(ROWS)
    path = fetch(server.url("/rows.jsonl"))
    path.write_bytes(ROWS[:-5])
    assert fetch(server.url("/rows.jsonl")).read_bytes() == ROWS


def test_an_address_is_a_source_everywhere(server, fetch):
    server.answers["/rows.jsonl"] = give(ROWS)
    url = server.url("/rows.jsonl")
    fetch(url)  # from here on, the cache answers
    found = load(url)
    assert (len(found), found.name, found.records[3].source) == (400, url, url)
    parts = load_splits(f"{url}#100", 0.1)
    assert (len(parts.train), len(parts.validation)) == (90, 10)


def test_a_broken_fetch_goes_on_where_it_broke(server, fetch):
    server.answers["/rows.jsonl"] = break_off(ROWS, 1000, '"one"', each=6000)
    path = fetch(server.url("/rows.jsonl"))
    assert path.read_bytes() == ROWS
    ranges = [headers.get("Range") for _, headers in server.asked]
    assert ranges[:3] == [None, "bytes=1000-", "bytes=7000-"]
    assert server.asked[1][1]["If-Range"] == '"one"'


def test_the_next_call_goes_on_too(server, fetch):
    server.answers["/rows.jsonl"] = break_off(ROWS, 500, '"one"', each=10)
    with pytest.raises(DataError, match=r"The 530 bytes that arrived are kept"):
        fetch(server.url("/rows.jsonl"))
    server.answers["/rows.jsonl"] = break_off(ROWS, 500, '"one"')
    assert fetch(server.url("/rows.jsonl")).read_bytes() == ROWS
    assert server.asked[4][1]["Range"] == "bytes=530-"


def test_a_file_that_changed_meanwhile_is_fetched_from_its_start(server, fetch):
    server.answers["/rows.jsonl"] = break_off(ROWS, 500, '"one"', each=10)
    with pytest.raises(DataError):
        fetch(server.url("/rows.jsonl"))
    changed = ROWS.replace(b"about", b"above")
    server.answers["/rows.jsonl"] = break_off(changed, len(changed), '"two"')
    assert fetch(server.url("/rows.jsonl")).read_bytes() == changed


def test_without_a_proof_of_sameness_nothing_is_pieced_together(server, fetch):
    server.answers["/rows.jsonl"] = break_off(ROWS, 500, 'W/"weak"', each=10)
    with pytest.raises(DataError, match=f"ended after 500 of {len(ROWS):,} bytes"):
        fetch(server.url("/rows.jsonl"))
    assert all("Range" not in headers for _, headers in server.asked)


def test_a_wrong_piece_is_refused(server, fetch):
    server.answers["/rows.jsonl"] = break_off(ROWS, 500, '"one"', each=10)
    with pytest.raises(DataError):
        fetch(server.url("/rows.jsonl"))
    server.answers["/rows.jsonl"] = give(ROWS[9:], 206, Content_Range=f"bytes 9-99/{len(ROWS)}")
    with pytest.raises(DataError, match="another piece of the file"):
        fetch(server.url("/rows.jsonl"))


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (404, "answers 404 Not Found. There is nothing at that address"),
        (403, "answers 403 Forbidden. It may need a login"),
        (401, "answers 401 Unauthorized. It needs a login"),
        (418, "answers 418"),
        (503, "the server answers 503 Service Unavailable"),
    ],
)
def test_refusals_are_told(server, fetch, status, said):
    server.answers["/rows.jsonl"] = give(b"no", status)
    with pytest.raises(DataError, match=said):
        fetch(server.url("/rows.jsonl"))
    assert len(server.asked) == (4 if status == 503 else 1), "only what may pass is tried again"


def test_a_file_that_is_too_large_is_refused_before_and_while_it_comes(server, fetch, tmp_path):
    server.answers["/rows.jsonl"] = give(ROWS)
    with pytest.raises(DataError, match=rf"has {len(ROWS):,} bytes; at most 1,000 are fetched"):
        fetch(server.url("/rows.jsonl"), most_bytes=1000)

    def unsized(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(ROWS)

    server.answers["/rows.jsonl"] = unsized
    with pytest.raises(DataError, match=r"has at least .* bytes; at most 1,000"):
        fetch(server.url("/rows.jsonl"), most_bytes=1000)
    assert not list((tmp_path / "cache").rglob("*.part"))


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_instead_of_data_is_told(server, fetch, kind):
    server.answers["/rows.jsonl"] = give(b"\n<!DOCTYPE HTML><title>Log in</title>", kind=kind)
    with pytest.raises(DataError, match="answers with a web page"):
        fetch(server.url("/rows.jsonl"))


def test_no_answer_in_time_is_told(server, fetch):
    done = threading.Event()
    server.answers["/rows.jsonl"] = lambda handler: done.wait(5)
    with pytest.raises(DataError, match="could not be fetched: no answer in time"):
        fetch(server.url("/rows.jsonl"), timeout=0.1)
    done.set()


def test_nobody_there_is_told(server, fetch):
    port = server.port
    server.close()
    with pytest.raises(DataError, match=r"could not be fetched: .*refused"):
        fetch(f"http://127.0.0.1:{port}/rows.jsonl")


def test_redirects_are_followed_a_few_times(server, fetch):
    server.answers["/a"] = give(b"", 301, Location="/b")
    server.answers["/b"] = give(b"", 307, Location=server.url("/rows.jsonl"))
    server.answers["/rows.jsonl"] = give(ROWS)
    assert fetch(server.url("/a")).name == "rows.jsonl"
    server.answers["/round"] = give(b"", 302, Location="/round")
    with pytest.raises(DataError, match="redirects more than 5 times"):
        fetch(server.url("/round"))


@pytest.mark.parametrize(
    ("path", "kind", "disposition", "name"),
    [
        ("/get/rows.csv", "text/plain", "", "rows.csv"),
        ("/get", "text/csv; charset=utf-8", "", "data.csv"),
        ("/get", "application/json", 'attachment; filename="my rows.jsonl"', "my_rows.jsonl"),
        ("/get", "application/json", 'attachment; filename="../../x.jsonl"', ".._.._x.jsonl"),
        ("/get.php", "", "", "data"),
        ("/origin.json", "", "", "origin.json"),
    ],
)
def test_the_ending_follows_from_the_address_or_the_answer(
    server, fetch, path, kind, disposition, name
):
    server.answers[path] = give(ROWS, kind=kind, Content_Disposition=disposition)
    found = fetch(server.url(path))
    assert (found.name, found.read_bytes()) == (name, ROWS)
    assert fetch(server.url(path)) == found
    assert len(server.asked) == 1


def test_what_is_no_data_names_the_address(server, fetch):
    server.answers["/rows.jsonl"] = give(b"{broken")
    url = server.url("/rows.jsonl")
    fetch(url)
    with pytest.raises(DataError, match=rf"{re.escape(url)} was fetched, but: .*broken line"):
        load(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://me:hush@example.com/a.csv", r"me:\*\*\*@example\.com.* user name or password"),
        ("http:///a.csv", "with a host"),
        ("http://example.com:x/a.csv", "wrong port"),
    ],
)
def test_addresses_that_are_wrong(fetch, url, said):
    with pytest.raises(DataError, match=said) as caught:
        fetch(url)
    assert "hush" not in str(caught.value)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
def test_encrypted_connections_check_the_name_of_the_host(fetch, tmp_path, monkeypatch):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    words += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    words += ["-keyout", str(key), "-out", str(certificate)]
    made = subprocess.run(words, capture_output=True)
    assert made.returncode == 0, made.stderr
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = Server(context)
    server.answers["/rows.jsonl"] = give(ROWS)
    server.answers["/down.jsonl"] = give(b"", 302, Location="http://example.com/rows.jsonl")
    secure = f"https://localhost:{server.port}"
    try:
        with pytest.raises(DataError, match="its certificate is not trusted"):
            fetch(f"{secure}/rows.jsonl")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert fetch(f"{secure}/rows.jsonl").read_bytes() == ROWS
        with pytest.raises(
            DataError, match=r"its certificate is not trusted .*IP address mismatch"
        ):
            fetch(f"https://127.0.0.1:{server.port}/rows.jsonl")
        with pytest.raises(DataError, match="is not encrypted"):
            fetch(f"{secure}/down.jsonl")
    finally:
        server.close()
