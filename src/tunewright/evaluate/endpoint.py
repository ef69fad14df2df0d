"""A model behind an address that speaks OpenAI's chat completions, asked with patience.

The key comes from the environment and is sent to that address alone: no redirection is followed,
and no message or file has it. This module does not know what is asked.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from tunewright.errors import ConfigError, WorkError

KEY = "OPENAI_API_KEY"
"""Environment variable that is sent as the key of the endpoint, where it is set."""
SECONDS = 120.0
"""How long one reply may take."""
TRIES = 4
"""How often an endpoint is asked that is busy or not there."""
_BUSY = (408, 425, 429, 500, 502, 503, 504)
"""Refusals that another try may get over."""
_LONGEST_WAIT = 30.0
"""Seconds between two tries at most, whatever the endpoint asks for."""
_LONGEST_REPLY = 4_000_000
"""Bytes that are read of a reply."""
_TOKENS = 1024
"""Longest reply; models that reason aloud need some."""
_KEPT = "What was judged is kept; the same call goes on."


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow nothing: the key is for the address that the user named."""


class Endpoint:
    """A chat completions endpoint.

    Args:
        url: its base, such as `http://127.0.0.1:8000/v1`; `/chat/completions` is added.
        model: which of its models is asked.
        seconds: how long one reply may take.
        tries: how often it is asked where it is busy (408, 425, 429, 5xx) or cannot be reached,
            with 1, 2, 4, ... seconds between, or as long as it asks for, up to 30.

    Raises:
        ConfigError: the address is none of http or https or holds a password, or there is no name
            of a model.
    """

    def __init__(
        self, url: str, model: str, *, seconds: float = SECONDS, tries: int = TRIES
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ConfigError(
                f"--judge {url!r} is not the address of an endpoint, such as http://HOST:PORT/v1."
            )
        if parts.username or parts.password or parts.query:
            raise ConfigError(
                f"--judge has a name, a password or a query in its address ({parts.hostname}), "
                f"which would be written down. Give the plain address, and a key in {KEY}."
            )
        if not model.strip():
            raise ConfigError("--judge needs --judge-model, the name the endpoint knows it by.")
        if not seconds > 0:
            raise ConfigError(f"--judge-timeout is {seconds:g}; a number of seconds above 0.")
        self.url = url.rstrip("/").removesuffix("/chat/completions") + "/chat/completions"
        self.model = model
        self.seconds = seconds
        self.tries = tries
        self._open = urllib.request.build_opener(_NoRedirection).open

    def reply(self, system: str, asked: str) -> str:
        """What the model replies, greedily.

        Raises:
            WorkError: the endpoint cannot be reached, refuses, or replies with something else.
        """
        content = {
            "model": self.model,
            "messages": [
                {"role": "system", "content": system},
                {"role": "user", "content": asked},
            ],
            "temperature": 0,
            "max_tokens": _TOKENS,
        }
        body = self._post(json.dumps(content).encode("utf-8"))
        try:
            return str(json.loads(body)["choices"][0]["message"]["content"] or "")
        except (ValueError, LookupError, TypeError) as error:
            raise WorkError(
                f"The judge at {self.url} does not speak chat completions; it said "
                f"{_without_key(body[:200])!r}. An address that ends in /v1 is the usual one."
            ) from error

    def _post(self, content: bytes) -> bytes:
        """The body of the answer, after as many tries as it takes."""
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY):
            headers["Authorization"] = f"Bearer {key}"
        for tried in range(1, self.tries + 1):
            request = urllib.request.Request(self.url, content, headers, method="POST")
            wait = 2.0 ** (tried - 1)
            try:
                with self._open(request, timeout=self.seconds) as response:
                    return bytes(response.read(_LONGEST_REPLY))
            except urllib.error.HTTPError as error:
                with error:
                    said = _without_key(error.read(300)).strip()
                if error.code not in _BUSY or tried == self.tries:
                    raise WorkError(self._refusal(error, said)) from error
                wait = _asked_wait(error.headers.get("Retry-After"), wait)
            except (OSError, http.client.HTTPException, ValueError) as error:
                if tried == self.tries:
                    reason = getattr(error, "reason", error)
                    raise WorkError(
                        f"The judge at {self.url} does not answer: {reason} (asked {self.tries} "
                        f"times, up to {self.seconds:g} s each). Check the address and that it is "
                        f"up. {_KEPT}"
                    ) from error
            time.sleep(min(wait, _LONGEST_WAIT))
        raise AssertionError("an endpoint is asked at least once")

    def _refusal(self, error: urllib.error.HTTPError, said: str) -> str:
        hint = ""
        if error.code in (401, 403):
            hint = f" Is {KEY} set?"
        elif 300 <= error.code < 400:
            hint = " It points elsewhere, which is not followed: give the address itself."
        elif error.code in _BUSY:
            hint = f" It was asked {self.tries} times."
        refused = f"{error.code} {error.reason}: {said}{hint}"
        return f"The judge at {self.url} refuses with {refused} {_KEPT}"


def _asked_wait(header: str | None, otherwise: float) -> float:
    """Seconds that the endpoint wants to be left alone; a date is not read."""
    try:
        return max(0.0, float(header or ""))
    except ValueError:
        return otherwise


def _without_key(said: bytes) -> str:
    """What an endpoint said, without the key should it have repeated it."""
    text = said.decode("utf-8", "replace")
    key = os.environ.get(KEY)
    return text.replace(key, "(the key)") if key else text
