"""Downloads are hash-checked and archives can only write plain files inside their target."""

from __future__ import annotations

import hashlib
import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from tunewright.download import cache_folder, cached_download, pip_download, safe_extract
from tunewright.errors import UserError


def make_tar(path: Path, members: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, aim in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type = tarfile.SYMTYPE
            info.linkname = aim
            tar.addfile(info)
    return path


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as container:
        for name, content in members.items():
            container.writestr(name, content)
    return path


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_extract_takes_only_what_is_below_the_prefix(tmp_path, make):
    members = {"pkg/model/a.bin": b"a", "pkg/model/sub/b.bin": b"bb", "pkg/models/c.bin": b"c"}
    archive = make(tmp_path / "archive", members)
    written = safe_extract(archive, "pkg/model", tmp_path / "out", max_bytes=100)
    assert [p.relative_to(tmp_path / "out").as_posix() for p in written] == [
        "pkg/model/a.bin",
        "pkg/model/sub/b.bin",
    ]
    assert (tmp_path / "out/pkg/model/sub/b.bin").read_bytes() == b"bb"
    assert not (tmp_path / "out/pkg/models").exists()


@pytest.mark.parametrize("make", [make_tar, make_zip])
@pytest.mark.parametrize("name", ["../evil", "pkg/../../evil", "/tmp/evil", "pkg\\..\\evil"])
def test_extract_refuses_paths_outside_the_target(tmp_path, make, name):
    archive = make(tmp_path / "archive", {"pkg/fine": b"x", name: b"x"})
    with pytest.raises(UserError, match="outside the target"):
        safe_extract(archive, "", tmp_path / "out", max_bytes=100)
    assert not (tmp_path / "out").exists()


def test_extract_refuses_links(tmp_path):
    archive = make_tar(tmp_path / "a.tar.gz", {"pkg/fine": b"x"}, {"pkg/link": "/etc/passwd"})
    with pytest.raises(UserError, match="link or a device"):
        safe_extract(archive, "pkg", tmp_path / "out", max_bytes=100)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as container:
        info = zipfile.ZipInfo("pkg/link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        container.writestr(info, "/etc/passwd")
    with pytest.raises(UserError, match="link or a device"):
        safe_extract(path, "pkg", tmp_path / "out", max_bytes=100)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_extract_stops_at_the_size_cap(tmp_path, make):
    archive = make(tmp_path / "archive", {"bomb": b"\0" * 1_000_000})
    with pytest.raises(UserError, match="1,000 are allowed"):
        safe_extract(archive, "", tmp_path / "out", max_bytes=1000)
    assert not (tmp_path / "out").exists()


def test_extract_of_a_damaged_or_foreign_archive_is_a_user_error(tmp_path):
    whole = make_tar(tmp_path / "whole.tar.gz", {"a": bytes(range(256)) * 400})
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole.read_bytes()[:300])
    with pytest.raises(UserError, match="damaged"):
        safe_extract(cut, "", tmp_path / "out", max_bytes=10**6)
    with pytest.raises(UserError, match="nothing below 'b'"):
        safe_extract(whole, "b", tmp_path / "out", max_bytes=10**6)


def test_cached_file_is_reused_without_pip(tmp_path, monkeypatch):
    content = b"wheel"
    sha256 = hashlib.sha256(content).hexdigest()
    (tmp_path / "Some_Package-1.0-py3-none-any.whl").write_bytes(content)
    (tmp_path / "some_package-0.9-py3-none-any.whl").write_bytes(b"other")
    monkeypatch.setattr("subprocess.run", None)
    found = pip_download("some.package==1.0", sha256, tmp_path, binary=True)
    assert found.name == "Some_Package-1.0-py3-none-any.whl"
    assert cached_download("some.package==1.0", "0" * 64, tmp_path) is None
    assert cached_download("other==1.0", sha256, tmp_path / "missing") is None


def test_failed_download_explains_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(UserError, match=r"no-such-thing==1\.0 could not be downloaded"):
        pip_download("no-such-thing==1.0", "0" * 64, tmp_path / "cache", binary=True)
    assert list((tmp_path / "cache").iterdir()) == []


def test_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNEWRIGHT_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("TUNEWRIGHT_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "tunewright"
