"""Archives: what is asked for comes out whole, and nothing else, nowhere else."""

import errno
import gzip
import io
import os
import platform
import random
import re
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from vidreason.sources import archives
from vidreason.sources.archive_formats import ArchiveError, tar_files
from vidreason.sources.archives import Member, looks_like_archive, unpack

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
RANDOM = random.Random(1)
FILES = {
    "data/videos/a.mp4": RANDOM.randbytes(3_000),
    "data/videos/deep/b.mp4": RANDOM.randbytes(20_000),
    "data/Videos.txt": b"two\n",
    "data/videos/c [1].mp4": b"",
}
MEMBERS = [Member(name, len(FILES[name])) for name in sorted(FILES)]


def pack(path, files, **settings):
    """Write an archive of the kind its name says; settings of a member go to its ZipInfo or TarInfo."""
    pairs = list(files.items() if isinstance(files, dict) else files)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as opened:
            for name, content in pairs:
                info = zipfile.ZipInfo(name)
                info.compress_type = zipfile.ZIP_DEFLATED
                for key, value in settings.items():
                    setattr(info, key, value)
                opened.writestr(info, content)
    else:
        with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as opened:
            for name, content in pairs:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                for key, value in settings.items():
                    setattr(info, key, value)
                opened.addfile(info, io.BytesIO(content))
    return path


def patch(path, *changes):
    """Overwrite bytes of an archive with one member: (signature of a record, offset in it, bytes)."""
    raw = bytearray(path.read_bytes())
    for signature, offset, value in changes:
        start = raw.index(signature) + offset
        raw[start : start + len(value)] = value
    path.write_bytes(raw)
    return path


def found(folder):
    """All files below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(archive, into, message, members=("*",), written=()):
    """Check that unpacking is refused with a message that names the archive, and writes only what is said."""
    with pytest.raises(ArchiveError, match=message) as caught:
        unpack(archive, into, members)
    assert str(caught.value).startswith(f"{archive}: ")
    assert sorted(found(into)) == sorted(written)
    return str(caught.value)


@pytest.fixture
def into(tmp_path):
    return tmp_path / "into"


class TestWhatComesOut:
    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_every_file_with_its_bytes_in_order_of_name(self, tmp_path, into, suffix):
        assert unpack(pack(tmp_path / f"x{suffix}", FILES), into) == MEMBERS
        assert found(into) == FILES

    @pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
    @pytest.mark.parametrize(
        ("members", "wanted"),
        [
            (["data/*"], sorted(FILES)),
            (["*.mp4"], ["data/videos/a.mp4", "data/videos/c [1].mp4", "data/videos/deep/b.mp4"]),
            (["data/videos/?.mp4", "*/b.mp4"], ["data/videos/a.mp4", "data/videos/deep/b.mp4"]),
            (["data/V*"], ["data/Videos.txt"]),
            (["data/Videos.txt"], ["data/Videos.txt"]),
            (["data/Videos.txt", "*.txt"], ["data/Videos.txt"]),
            (["*c [[]1].mp4"], ["data/videos/c [1].mp4"]),
        ],
    )
    def test_patterns_choose(self, tmp_path, into, suffix, members, wanted):
        result = unpack(pack(tmp_path / f"x{suffix}", FILES), into, members)
        assert [member.name for member in result] == wanted == sorted(found(into))

    @pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
    @pytest.mark.parametrize("pattern", ["*.MP4", "data/videos", "a.mp4", "data/videos/c [1].mp4", "other/a.mp4"])
    def test_a_pattern_without_a_match_is_an_error(self, tmp_path, into, suffix, pattern):
        text = refused(pack(tmp_path / f"x{suffix}", FILES), into, "no member matches", ["*a.mp4", pattern])
        assert f"no member matches [{pattern!r}] (patterns: ['*a.mp4', {pattern!r}])" in text
        assert "it has 4 files" in text
        assert "'data/videos/deep/b.mp4'" in text

    @pytest.mark.parametrize("members", ["*.mp4", []])
    def test_patterns_must_be_a_sequence(self, tmp_path, into, members):
        with pytest.raises(ValueError, match="expected a sequence of patterns"):
            unpack(pack(tmp_path / "x.zip", FILES), into, members)

    @pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
    def test_names_are_brought_to_one_form(self, tmp_path, into, suffix):
        archive = pack(tmp_path / f"x{suffix}", {"./a/b.mp4": b"1", ".//a/./c.mp4": b"22"})
        assert unpack(archive, into) == [Member("a/b.mp4", 1), Member("a/c.mp4", 2)]
        assert found(into) == {"a/b.mp4": b"1", "a/c.mp4": b"22"}

    @pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
    def test_folders_are_made_as_needed_only(self, tmp_path, into, suffix):
        archive = tmp_path / f"x{suffix}"
        if suffix == ".zip":
            pack(archive, [("./", b""), ("bare/", b""), ("full/", b""), ("full/a.mp4", b"")])
        else:
            with tarfile.open(archive, "w:gz") as opened:
                for name in (".", "bare", "full", "full/a.mp4"):
                    info = tarfile.TarInfo(name)
                    info.type = tarfile.REGTYPE if name.endswith("mp4") else tarfile.DIRTYPE
                    opened.addfile(info)
        assert unpack(archive, into) == [Member("full/a.mp4", 0)]
        assert sorted(path.name for path in into.rglob("*")) == ["a.mp4", "full"]

    @pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
    def test_junk_stays_inside(self, tmp_path, into, suffix):
        junk = {"__MACOSX/a/._b.mp4": b"j", "a/__MACOSX/b.mp4": b"j", ".DS_Store": b"j", "a/.DS_Store": b"j"}
        junk |= {"a/._b.mp4": b"j", "._a/b.mp4": b"j", "frames/._00001.jpg": b"j"}  # as macOS's own tar writes them
        kept = ["a/b._mp4", "a/b.mp4", "a/my.DS_Store"]
        archive = pack(tmp_path / f"x{suffix}", {**junk, **dict.fromkeys(kept, b"1")})
        assert [member.name for member in unpack(archive, into)] == kept
        assert sorted(found(into)) == kept
        shutil.rmtree(into)
        refused(archive, into, r"no member matches \['\*DS_Store/\*', '__MACOSX/\*'\]", ["*DS_Store/*", "__MACOSX/*"])

    @pytest.mark.parametrize(
        ("suffix", "settings"), [(".zip", {"external_attr": 0o106777 << 16}), (".tar", {"mode": 0o6777})]
    )
    def test_modes_are_plain(self, tmp_path, into, suffix, settings):
        before = os.umask(0o022)
        try:
            unpack(pack(tmp_path / f"x{suffix}", {"a.mp4": b"1"}, **settings), into)
        finally:
            os.umask(before)
        assert stat.S_IMODE((into / "a.mp4").stat().st_mode) == 0o644

    def test_zip64(self, tmp_path, into, monkeypatch):
        with monkeypatch.context() as small:
            small.setattr(zipfile, "ZIP64_LIMIT", 1_000)
            pack(tmp_path / "x.zip", FILES)
        assert b"PK\x06\x06" in (tmp_path / "x.zip").read_bytes()
        assert unpack(tmp_path / "x.zip", into) == MEMBERS
        assert found(into) == FILES

    def test_several_gzips_in_a_row_are_one(self, tmp_path, into):
        raw = pack(tmp_path / "x.tar", FILES).read_bytes()
        (tmp_path / "y.tar.gz").write_bytes(gzip.compress(raw[:5_000]) + gzip.compress(raw[5_000:]))
        assert unpack(tmp_path / "y.tar.gz", into) == MEMBERS
        assert found(into) == FILES

    @pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
    @pytest.mark.parametrize("layout", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    def test_long_and_foreign_names(self, tmp_path, into, suffix, layout):
        names = ["x" * 200 + "/" + "y" * 200, "Übung/é.mp4"]
        with tarfile.open(tmp_path / f"x{suffix}", "w" + suffix[4:].replace(".", ":"), format=layout) as opened:
            for name in names:
                opened.addfile(tarfile.TarInfo(name))
        assert unpack(tmp_path / f"x{suffix}", into) == [Member(name, 0) for name in names]

    def test_the_target_folder_may_be_a_link(self, tmp_path, into):
        (tmp_path / "disk").mkdir()
        into.symlink_to("disk")
        unpack(pack(tmp_path / "x.zip", FILES), into)
        assert found(tmp_path / "disk") == FILES

    def test_folders_are_looked_at_once(self, tmp_path, into, monkeypatch):
        looks = []
        look = archives._state
        monkeypatch.setattr(archives, "_state", lambda path: looks.append(path) or look(path))
        unpack(pack(tmp_path / "x.zip", {f"{'d/' * 30}{number}.mp4": b"" for number in range(100)}), into)
        assert len(looks) == 2 * (100 + 30)  # before and after

    def test_what_an_archive_is_called(self):
        yes = ["a.zip", "b/a.ZIP", "a.tar", "a.tar.gz", "a.Tar.Gz", "a.tgz"]
        no = ["a.gz", "a.zip.mp4", "zip", "a.tar.xz", "a.mp4", ""]
        assert [name for name in [*yes, *no] if looks_like_archive(name)] == yes
        assert looks_like_archive(Path("a.zip"))


class TestNames:
    @pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
    @pytest.mark.parametrize(
        ("name", "problem"),
        [
            ("/etc/passwd", "an absolute path"),
            ("//server/a", "an absolute path"),
            ("C:/a", "an absolute path"),
            ("c:a", "an absolute path"),
            ("C:\\a", "a backslash"),
            ("\\a", "a backslash"),
            ("a\\..\\b", "a backslash"),
            ("../a", r"a way out of the folder"),
            ("a/../../b", r"a way out of the folder"),
            ("./a/../b", r"a way out of the folder"),
            ("a/..", r"a way out of the folder"),
            (".", "an empty name"),
            ("a/" * 2_100 + "b", "more than 4096 characters"),
        ],
    )
    @pytest.mark.parametrize("members", [["*"], ["good.mp4"]])
    def test_a_bad_name_is_refused_even_if_not_wanted(self, tmp_path, into, suffix, name, problem, members):
        archive = pack(tmp_path / f"x{suffix}", {"good.mp4": b"1", name: b"evil"})
        text = refused(archive, into, problem, members)
        assert repr(name[:200]) in text
        assert sorted(path.name for path in tmp_path.iterdir()) == [archive.name]

    def test_an_empty_name(self, tmp_path, into):
        refused(pack(tmp_path / "x.tar", {"": b"evil"}), into, "'': an empty name")
        refused(pack(tmp_path / "x.tar", {"/": b"", "a": b"1"}, type=tarfile.DIRTYPE), into, "'': an empty name")

    def test_a_nul_byte(self, tmp_path, into):
        archive = pack(tmp_path / "x.zip", {"a?b.mp4": b"evil"})
        archive.write_bytes(archive.read_bytes().replace(b"a?b", b"a\0b"))
        refused(archive, into, r"'a\\x00b\.mp4': a NUL byte")
        archive = pack(tmp_path / "x.tar", {"a.mp4": b"evil"}, pax_headers={"path": "a\0b.mp4"})
        refused(archive, into, r"'a\\x00b\.mp4': a NUL byte")

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    @pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
    @pytest.mark.parametrize(
        ("pairs", "message"),
        [
            ([("a/b", b"1"), ("a/b", b"2")], "'a/b': twice"),
            ([("a/b", b"1"), ("./a//b", b"1")], "'a/b': twice"),
            ([("a", b"1"), ("a/b", b"2")], "'a': both a file and a folder"),
            ([("a/b/c", b"1"), ("a", b"2")], "'a': both a file and a folder"),
        ],
    )
    def test_no_name_twice(self, tmp_path, into, suffix, pairs, message):
        refused(pack(tmp_path / f"x{suffix}", pairs), into, message)

    def test_an_empty_folder_clashes_with_a_file(self, tmp_path, into):
        refused(pack(tmp_path / "x.zip", [("a", b"1"), ("a/", b"")]), into, "'a': both a file and a folder")


class TestKinds:
    @pytest.mark.parametrize(
        ("kind", "message"),
        [
            (stat.S_IFLNK, "a symbolic link; links are not supported, not even within the folder"),
            (stat.S_IFIFO, "neither a file nor"),
            (stat.S_IFCHR, "neither a file nor"),
            (stat.S_IFBLK, "neither a file nor"),
            (stat.S_IFSOCK, "neither a file nor"),
            (stat.S_IFDIR, "neither a file nor"),
        ],
    )
    def test_a_zip_of_other_than_files(self, tmp_path, into, kind, message):
        archive = tmp_path / "x.zip"
        with zipfile.ZipFile(archive, "w") as opened:
            opened.writestr("good.mp4", b"1")
            info = zipfile.ZipInfo("bad")
            info.external_attr = (kind | 0o777) << 16
            opened.writestr(info, b"good.mp4")
        refused(archive, into, f"'bad': {message}")
        assert unpack(archive, into, ["good*"]) == [Member("good.mp4", 1)]

    def test_a_zip_folder_without_a_slash(self, tmp_path, into):
        pack(tmp_path / "x.zip", {"folder": b"", "folder/a": b""}, external_attr=(stat.S_IFDIR | 0o755) << 16)
        with pytest.raises(ArchiveError, match="it has 0 files"):
            unpack(tmp_path / "x.zip", into)

    def test_a_zip_folder_with_bytes(self, tmp_path, into):
        refused(pack(tmp_path / "x.zip", {"bad/": b"lost"}), into, "'bad': neither a file nor an empty folder")

    @pytest.mark.parametrize(
        ("kind", "target", "message"),
        [
            (tarfile.SYMTYPE, "../../etc", "a link to '../../etc'; links are not supported"),
            (tarfile.SYMTYPE, "good.mp4", "a link to 'good.mp4'; links are not supported"),
            (tarfile.LNKTYPE, "/etc/passwd", "a link to '/etc/passwd'; links are not supported"),
            (tarfile.LNKTYPE, "good.mp4", "a link to 'good.mp4'; links are not supported, not even within the folder"),
            (tarfile.FIFOTYPE, "", "of type b'6', not a file"),
            (tarfile.CHRTYPE, "", "of type b'3', not a file"),
            (tarfile.BLKTYPE, "", "of type b'4', not a file"),
            (b"V", "", "of type b'V', not a file"),
            (tarfile.GNUTYPE_SPARSE, "", "a sparse file"),
        ],
    )
    def test_a_tar_of_other_than_files(self, tmp_path, into, kind, target, message):
        archive = tmp_path / "x.tar.gz"
        with tarfile.open(archive, "w:gz") as opened:
            opened.addfile(tarfile.TarInfo("good.mp4"))
            info = tarfile.TarInfo("bad")
            info.type, info.linkname = kind, target
            opened.addfile(info)
        refused(archive, into, f"'bad': {message}")
        assert unpack(archive, into, ["good*"]) == [Member("good.mp4", 0)]

    def test_a_file_behind_a_link_of_the_same_tar(self, tmp_path, into):
        (tmp_path / "outside").mkdir()
        with tarfile.open(tmp_path / "x.tar", "w") as opened:
            link = tarfile.TarInfo("door")
            link.type, link.linkname = tarfile.SYMTYPE, "../outside"
            opened.addfile(link)
            opened.addfile(tarfile.TarInfo("door/evil"))
        refused(tmp_path / "x.tar", into, "'door': a link to")
        refused(tmp_path / "x.tar", into, "'door': both a file and a folder", ["door/*"])
        assert not found(tmp_path / "outside")

    def test_pythons_own_filter_looks_at_a_member_before_it_is_opened(self, tmp_path, into):
        """A link that is put into the folder after everything was checked leads nowhere either."""
        archive = pack(tmp_path / "x.tar", {"door/a.mp4": b"1"})
        into.mkdir()
        (into / "door").symlink_to(tmp_path)
        with pytest.raises(
            ArchiveError, match=r"refused \('door/a.mp4' would be extracted to .*outside the destination"
        ):
            list(tar_files(archive, {"door/a.mp4": 1}, into))

    def test_encrypted(self, tmp_path, into):
        archive = pack(tmp_path / "x.zip", {"a.mp4": b"1"})
        patch(archive, (b"PK\1\2", 8, b"\1\0"), (b"PK\3\4", 6, b"\1\0"))
        refused(archive, into, "'a.mp4': encrypted")

    @pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, 9, 99])
    def test_compression_methods(self, tmp_path, into, method):
        archive = pack(tmp_path / "x.zip", {"a.mp4": b"1"})
        patch(archive, (b"PK\1\2", 10, struct.pack("<H", method)), (b"PK\3\4", 8, struct.pack("<H", method)))
        refused(archive, into, rf"'a.mp4': compression method {method}; known are \(0, 8\)")


class TestBombs:
    @pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
    def test_a_member_of_zeros(self, tmp_path, into, suffix):
        archive = pack(tmp_path / f"x{suffix}", {"zeros.bin": bytes(3 << 20), "good.mp4": b"1"})
        refused(archive, into, r"'zeros.bin': \d+ bytes from \d+ packed ones, more than 200 to 1")

    @pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
    def test_many_members_each_below_the_floor(self, tmp_path, into, suffix):
        archive = pack(tmp_path / f"x{suffix}", {f"{number}.bin": bytes(900_000) for number in range(5)})
        refused(archive, into, "more than 200 to 1")
        if suffix == ".zip":
            assert len(unpack(archive, into, ["0.bin"])) == 1

    def test_zeros_are_not_skipped_in_a_tar_either(self, tmp_path, into):
        files = {"zeros.bin": bytes(3 << 20), "good.mp4": b"1"}
        refused(pack(tmp_path / "x.tar.gz", files), into, "'zeros.bin': ", ["good.mp4"])
        assert unpack(pack(tmp_path / "x.zip", files), into, ["good.mp4"]) == [Member("good.mp4", 1)]

    def test_honest_ratios_pass(self, tmp_path, into):
        lines = b"".join(b'{"id": %d, "answer": "A"}\n' % number for number in range(100_000))
        assert unpack(pack(tmp_path / "x.zip", {"a.jsonl": lines, "small.bin": bytes(1_000_000)}), into)
        assert unpack(pack(tmp_path / "x.tgz", {"a.jsonl": lines}), into)

    def test_zeros_after_the_end_of_a_tar(self, tmp_path, into):
        raw = pack(tmp_path / "x.tar", {"a.mp4": b"1"}).read_bytes()
        (tmp_path / "x.tar.gz").write_bytes(gzip.compress(raw + bytes(8 << 20)))
        refused(tmp_path / "x.tar.gz", into, "'the end': .* more than 200 to 1")

    def test_a_long_name_that_fills_the_memory(self, tmp_path, into):
        archive = pack(tmp_path / "x.tar", {"a.mp4": bytes(2 << 20)}, type=tarfile.GNUTYPE_LONGNAME)
        refused(archive, into, "a header of 2097152 bytes")

    @pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
    def test_a_negative_size(self, tmp_path, into, kind):
        archive = pack(tmp_path / "x.tar", {"a.mp4": b""}, type=kind)
        header = bytearray(archive.read_bytes())
        header[124:136] = (-1024).to_bytes(12, "big", signed=True)
        header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:512]))
        archive.write_bytes(header)
        refused(archive, into, "a header of -1024 bytes")

    def test_a_negative_size_in_an_extended_header(self, tmp_path, into):
        archive = pack(tmp_path / "x.tar", {"a.mp4": b""}, pax_headers={"size": "-1024"})
        refused(archive, into, "'a.mp4' announces -1024 bytes")

    @pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    @pytest.mark.parametrize(
        ("honest", "message"), [(True, "declared with 40000 bytes, holds more"), (False, "Bad CRC")]
    )
    def test_a_member_larger_than_declared(self, tmp_path, into, method, honest, message):
        content = RANDOM.randbytes(50_000)
        archive = pack(tmp_path / "x.zip", {"a.mp4": content}, compress_type=method)
        size = struct.pack("<L", 40_000)
        patch(archive, (b"PK\1\2", 24, size), (b"PK\3\4", 22, size))
        if not honest:
            # A checksum of the declared part only: a reader that stops there finds nothing wrong.
            check = struct.pack("<L", zlib.crc32(content[:40_000]))
            patch(archive, (b"PK\1\2", 16, check), (b"PK\3\4", 14, check))
        refused(archive, into, f"'a.mp4': .*{message}")

    def test_a_member_smaller_than_declared(self, tmp_path, into):
        archive = pack(tmp_path / "x.zip", {"a.mp4": RANDOM.randbytes(50_000)})
        size = struct.pack("<L", 60_000)
        patch(archive, (b"PK\1\2", 24, size), (b"PK\3\4", 22, size))
        refused(archive, into, "'a.mp4': declared with 60000 bytes, holds only 50000")

    def test_no_more_is_read_than_declared(self, tmp_path, into, monkeypatch):
        archive = pack(tmp_path / "x.zip", {"a.bin": RANDOM.randbytes(4 << 20)}, compress_type=zipfile.ZIP_STORED)
        size = struct.pack("<L", 1_000)
        patch(archive, (b"PK\1\2", 24, size), (b"PK\3\4", 22, size))
        amount = []
        read = zipfile.ZipExtFile.read
        monkeypatch.setattr(zipfile.ZipExtFile, "read", lambda *a: (data := read(*a), amount.append(len(data)))[0])
        refused(archive, into, "'a.bin': declared with 1000 bytes, holds more")
        assert 1_000 < sum(amount) <= 1_000 + archives.CHUNK


class TestBrokenArchives:
    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("keep", [2, 15, 300, 0.2, 0.5, 0.7, -1])
    def test_cut_short(self, tmp_path, into, suffix, keep):
        archive = pack(tmp_path / f"x{suffix}", FILES)
        raw = archive.read_bytes()
        if suffix == ".tar" and keep == -1:
            # The end is padding: cut where the mark of the end begins instead.
            keep = raw.rindex(FILES["data/Videos.txt"]) // 512 * 512 + 1024
        archive.write_bytes(raw[: keep if isinstance(keep, int) else int(keep * len(raw))])
        text = refused(archive, into, "cut short|begins with")
        assert "fetch it again" in text

    def test_a_member_that_ends_behind_the_archive_is_named(self, tmp_path, into):
        archive = pack(tmp_path / "x.tar", FILES)
        archive.write_bytes(archive.read_bytes()[:10_000])
        refused(archive, into, r"is cut short \('data/videos/deep/b.mp4' ends at byte \d+, the archive at 10000\)")

    def test_a_zip_cut_behind_a_zip_inside_it(self, tmp_path, into):
        inner = pack(tmp_path / "inner.zip", {"evil.mp4": b"1"}).read_bytes()
        archive = pack(tmp_path / "x.zip", [("inner.zip", inner), *FILES.items()], compress_type=zipfile.ZIP_STORED)
        raw = archive.read_bytes()
        archive.write_bytes(raw[: raw.index(inner) + len(inner) + 40])
        refused(archive, into, r"is cut short \(its first member is not in its list\)")

    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"<!DOCTYPE html><html>not found</html>", "begins with '<!DOCTYPE html>.*': text, such as a web page"),
            (b"version https://git-lfs.github.com/spec/v1\n", "begins with 'version https.*': text"),
            (b"", "the file is empty"),
            (b"\x00\x01\x02\x03" * 300, "begins with|damaged"),
        ],
    )
    def test_no_archive(self, tmp_path, into, suffix, content, message):
        (tmp_path / f"x{suffix}").write_bytes(content)
        assert "fetch it again" in refused(tmp_path / f"x{suffix}", into, message)

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_nothing_or_a_folder(self, tmp_path, into, suffix):
        refused(tmp_path / f"x{suffix}", into, "no such file")
        (tmp_path / f"x{suffix}").mkdir()
        refused(tmp_path / f"x{suffix}", into, "not a file")

    @pytest.mark.parametrize(
        ("real", "called", "message"),
        [
            (".zip", ".tar.gz", "a zip, not what its name says"),
            (".zip", ".tar", "a zip, not what its name says"),
            (".tar.gz", ".zip", "a gzip, as .tar.gz is, not what its name says"),
            (".tar.gz", ".tar", "a gzip, as .tar.gz is, not what its name says"),
            (".tar", ".tgz", r"\(a plain tar\?\), not what its name says"),
        ],
    )
    def test_another_format_than_the_name_says(self, tmp_path, into, real, called, message):
        archive = pack(tmp_path / f"x{real}", FILES).rename(tmp_path / f"y{called}")
        refused(archive, into, message)

    def test_an_unknown_suffix(self, tmp_path, into):
        archive = pack(tmp_path / "x.zip", FILES).rename(tmp_path / "x.rar")
        refused(archive, into, r"known are \.zip, \.tar, \.tar\.gz, \.tgz")

    def test_a_gzip_of_something_else(self, tmp_path, into):
        (tmp_path / "x.tar.gz").write_bytes(gzip.compress(b"<html>" * 200))
        refused(tmp_path / "x.tar.gz", into, "damaged")

    def test_an_empty_archive(self, tmp_path, into):
        refused(pack(tmp_path / "x.zip", {}), into, "it has 0 files")
        refused(pack(tmp_path / "x.tar.gz", {}), into, "it has 0 files")

    def test_a_damaged_member_of_a_zip_is_not_written(self, tmp_path, into):
        archive = pack(tmp_path / "x.zip", FILES, compress_type=zipfile.ZIP_STORED)
        raw = bytearray(archive.read_bytes())
        raw[raw.index(FILES["data/videos/deep/b.mp4"]) + 9_000] ^= 1
        archive.write_bytes(raw)
        refused(archive, into, r"'data/videos/deep/b.mp4': .* damaged \(Bad CRC", written=["data/videos/a.mp4"])

    def test_a_zip_that_cannot_be_inflated(self, tmp_path, into):
        archive = pack(tmp_path / "x.zip", {"a.mp4": b"frames"})
        patch(archive, (b"a.mp4", 5, b"\7"))  # a block of a type that does not exist
        refused(archive, into, "'a.mp4': the archive is cut short or damaged .*invalid block type")

    def test_flags_that_the_reader_does_not_know(self, tmp_path, into):
        archive = patch(pack(tmp_path / "x.zip", {"a.mp4": b"1"}), (b"PK\1\2", 8, b"\x20\0"))
        refused(archive, into, r"'a.mp4': the archive is cut short or damaged \(compressed patched data")

    def test_a_name_that_is_not_what_it_is_declared_to_be(self, tmp_path, into):
        archive = patch(pack(tmp_path / "x.zip", {"é.mp4": b"1"}), (b"PK\1\2", 46, b"\xff"))
        refused(archive, into, r"cut short or damaged \('utf-8' codec can't decode")

    @pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
    def test_a_size_beyond_all_numbers(self, tmp_path, into, suffix):
        header = tarfile.TarInfo("a")
        header.type, header.size = b"V", 1 << 80
        raw = header.tobuf(tarfile.GNU_FORMAT) + bytes(10_240)
        archive = tmp_path / f"x{suffix}"
        archive.write_bytes(raw if suffix == ".tar" else gzip.compress(raw))
        refused(archive, into, "cut short", ["b"])

    @pytest.mark.parametrize("where", ["data", "checksum", "length", "behind"])
    def test_a_damaged_gzip_is_noticed_before_anything_is_written(self, tmp_path, into, where):
        archive = pack(tmp_path / "x.tar.gz", FILES)
        raw = bytearray(archive.read_bytes())
        raw[{"data": len(raw) // 2, "checksum": -8, "length": -4, "behind": -1}[where]] ^= 4
        archive.write_bytes(raw if where != "behind" else archive.read_bytes() + b"rest")
        refused(archive, into, "cut short or damaged")

    @pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
    def test_a_damaged_header_is_not_the_end(self, tmp_path, into, suffix):
        raw = bytearray(pack(tmp_path / "x.tar", FILES).read_bytes())
        raw[raw.index(b"data/Videos.txt")] ^= 1
        archive = tmp_path / f"y{suffix}"
        archive.write_bytes(raw if suffix == ".tar" else gzip.compress(raw))
        refused(archive, into, r"damaged \(bad checksum: b'eata/Videos.txt")

    @pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
    def test_several_tars_in_one_file(self, tmp_path, into, suffix):
        raw = b"".join(pack(tmp_path / "x.tar", {name: b"1"}).read_bytes() for name in "ab")
        archive = tmp_path / f"y{suffix}"
        archive.write_bytes(raw if suffix == ".tar" else gzip.compress(raw))
        refused(archive, into, "several tars in one file")


class TestTheFolder:
    @pytest.fixture
    def archive(self, tmp_path):
        return pack(tmp_path / "x.zip", {"a/b/c.mp4": b"new", "z.mp4": b"1"})

    def test_no_writing_through_a_linked_folder(self, tmp_path, into, archive):
        (tmp_path / "outside" / "b").mkdir(parents=True)
        into.mkdir()
        (into / "a").symlink_to(tmp_path / "outside")
        refused(archive, into, f"'a/b/c.mp4': {into}/a is a symbolic link, expected a folder or nothing")
        assert not found(tmp_path / "outside")

    @pytest.mark.parametrize("content", ["new", "something else", None])
    def test_no_writing_through_a_linked_file(self, tmp_path, into, archive, content):
        if content:
            (tmp_path / "outside").write_text(content)
        (into / "a/b").mkdir(parents=True)
        (into / "a/b/c.mp4").symlink_to(tmp_path / "outside")
        refused(archive, into, "c.mp4 is a symbolic link, expected a file", written=["a/b/c.mp4"] if content else [])
        assert not content or (tmp_path / "outside").read_text() == content

    def test_a_folder_in_the_place_of_a_file(self, into, archive):
        (into / "a/b/c.mp4").mkdir(parents=True)
        refused(archive, into, "c.mp4 is a folder, expected a file")

    def test_a_pipe_in_the_place_of_a_file(self, into, archive):
        into.mkdir()
        os.mkfifo(into / "z.mp4")
        refused(archive, into, "z.mp4 is a file or device, expected a file")

    def test_a_file_in_the_place_of_a_folder(self, into, archive):
        into.mkdir()
        (into / "a").write_text("file")
        refused(archive, into, "/a is a file or device, expected a folder", written=["a"])

    def test_a_file_in_the_place_of_the_folder(self, into, archive):
        into.write_text("file")
        with pytest.raises(ArchiveError, match="into is a file, expected a folder"):
            unpack(archive, into)

    def test_the_archive_itself_is_not_overwritten(self, tmp_path):
        archive = pack(tmp_path / "x.zip", {"x.zip": b"inner"})
        before = archive.read_bytes()
        refused(archive, tmp_path, "expected a file other than the archive", written=["x.zip"])
        assert archive.read_bytes() == before

    def test_a_name_too_long_for_the_disk(self, tmp_path, into):
        refused(pack(tmp_path / "x.zip", {"n" * 300: b"1"}), into, "'nnn.*': cannot be read or written")

    def test_a_member_that_vanishes_is_missed(self, tmp_path, into, archive, monkeypatch):
        monkeypatch.setattr(archives, "_write", lambda archive, member, open_file, target: None)
        refused(archive, into, "'a/b/c.mp4': not in .* with its 3 bytes after unpacking")


def marks(folder):
    """What changes when a file is written again."""
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.rglob("*") if path.is_file()}


def fail_reading(monkeypatch, suffix, call, error):
    """Let the given call of the readers of members, from 1, raise an error."""
    reader = zipfile.ZipExtFile if suffix == ".zip" else tarfile.ExFileObject
    read, calls = reader.read, []

    def fail(self, size):
        calls.append(size)
        if len(calls) == call:
            raise error
        return read(self, size)

    monkeypatch.setattr(reader, "read", fail)


class TestGoingOn:
    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_twice_writes_once(self, tmp_path, into, suffix, monkeypatch):
        archive = pack(tmp_path / f"x{suffix}", FILES)
        unpack(archive, into)
        before = marks(into)
        monkeypatch.delattr(archives, "_write")
        monkeypatch.delattr(zipfile.ZipFile, "open")
        assert unpack(archive, into) == MEMBERS
        assert marks(into) == before

    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("harm", ["gone", "short", "long"])
    def test_only_what_is_missing_or_of_another_size_is_written(self, tmp_path, into, suffix, harm):
        archive = pack(tmp_path / f"x{suffix}", FILES)
        unpack(archive, into)
        before = marks(into)
        harmed = into / "data/videos/a.mp4"
        content = harmed.read_bytes()
        harmed.unlink()
        if harm != "gone":
            harmed.write_bytes(content[:-1] if harm == "short" else content + b"x")
        assert unpack(archive, into) == MEMBERS
        assert found(into) == FILES
        after = marks(into)
        assert {name for name in after if after[name] != before[name]} <= {"a.mp4"}

    def test_a_file_of_the_same_size_is_kept(self, tmp_path, into):
        into.mkdir()
        (into / "a.mp4").write_bytes(b"old")
        unpack(pack(tmp_path / "x.zip", {"a.mp4": b"new"}), into)
        assert found(into) == {"a.mp4": b"old"}

    def test_a_second_call_adds_other_members(self, tmp_path, into):
        archive = pack(tmp_path / "x.tar.gz", FILES)
        unpack(archive, into, ["*a.mp4"])
        unpack(archive, into, ["*b.mp4"])
        assert sorted(found(into)) == ["data/videos/a.mp4", "data/videos/deep/b.mp4"]

    @pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
    def test_an_interrupted_member_is_not_there(self, tmp_path, into, suffix, monkeypatch):
        archive = pack(tmp_path / f"x{suffix}", FILES)
        with monkeypatch.context() as interrupted:
            interrupted.setattr(archives, "CHUNK", 1_000)
            fail_reading(interrupted, suffix, 8, KeyboardInterrupt())
            with pytest.raises(KeyboardInterrupt):
                unpack(archive, into)
        assert found(into) == {"data/videos/a.mp4": FILES["data/videos/a.mp4"]}
        before = marks(into)
        assert unpack(archive, into) == MEMBERS
        assert found(into) == FILES
        assert marks(into)["a.mp4"] == before["a.mp4"]

    def test_a_killed_run_goes_on(self, tmp_path, into):
        archive = pack(tmp_path / "x.zip", FILES)
        code = (
            "import os, signal, sys, zipfile\n"
            "from vidreason.sources import archives\n"
            "read = zipfile.ZipExtFile.read\n"
            "def kill(self, size):\n"
            "    if self._left < 10_000 and 'b.mp4' in self.name: os.kill(os.getpid(), signal.SIGKILL)\n"
            "    return read(self, size)\n"
            "archives.CHUNK, zipfile.ZipExtFile.read = 1_000, kill\n"
            "archives.unpack(sys.argv[1], sys.argv[2])\n"
        )
        environment = {**os.environ, "PYTHONPATH": str(Path(archives.__file__).parents[2])}
        killed = subprocess.run([sys.executable, "-c", code, archive, into], env=environment, check=False)
        assert killed.returncode == -signal.SIGKILL
        whole, rest = sorted(found(into), key=len)
        assert whole == "data/videos/a.mp4"
        assert re.fullmatch(r"data/videos/deep/\..{32}\.tmp", rest)
        assert unpack(archive, into) == MEMBERS
        assert {name: content for name, content in found(into).items() if name != rest} == FILES


class TestNamesOfMembers:
    @pytest.mark.parametrize(
        ("stored", "name"),
        [
            ("Übung".encode(), "Übung"),  # UTF-8 without the flag, as macOS and many tools write it
            ("视频".encode(), "视频"),
            (b"\x9abung1", "Übung1"),  # cp437, as the rules have it; no UTF-8
            (b"plain", "plain"),
        ],
    )
    def test_a_name_without_the_flag_is_utf_8_where_it_can_be(self, tmp_path, into, stored, name):
        placeholder = b"x" * len(stored)
        archive = pack(tmp_path / "x.zip", {f"a/{placeholder.decode()}.mp4": b"frames"})
        archive.write_bytes(archive.read_bytes().replace(placeholder, stored))
        assert [member.name for member in unpack(archive, into, [f"a/{name}.mp4"])] == [f"a/{name}.mp4"]
        assert (into / "a" / f"{name}.mp4").read_bytes() == b"frames"
        assert unpack(archive, into, ["a/*"]) == unpack(archive, into, ["*.mp4"])

    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("name", ["a\rb.mp4", "a\nb.mp4", "a\x1bb.mp4"])
    def test_a_name_with_a_control_character_is_refused_if_it_is_wanted(self, tmp_path, into, suffix, name):
        archive = pack(tmp_path / f"x{suffix}", {name: b"", "c.mp4": b""})
        refused(archive, into, re.escape(f"{name!r}: control characters, or bytes that are not UTF-8"))
        assert unpack(archive, into, ["c.mp4"]) == [Member("c.mp4", 0)]

    def test_a_name_of_a_tar_that_is_not_utf_8_is_refused_if_it_is_wanted(self, tmp_path, into):
        """It could be written, but no list of what was unpacked could hold it."""
        archive = tmp_path / "x.tar"
        with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as opened:
            opened.addfile(tarfile.TarInfo("café.mp4"))
            opened.addfile(tarfile.TarInfo("c.mp4"))
        refused(archive, into, "bytes that are not UTF-8")
        assert unpack(archive, into, ["c.mp4"]) == [Member("c.mp4", 0)]

    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("length", [205, 255])
    def test_a_long_name_on_a_machine_with_a_long_name(self, tmp_path, into, suffix, length, monkeypatch):
        monkeypatch.setattr(platform, "node", lambda: "h" * 64)
        name = "x" * (length - 4) + ".mp4"
        unpack(pack(tmp_path / f"x{suffix}", {name: b"frames"}), into)
        assert (into / name).read_bytes() == b"frames"


class TestFullDisk:
    @pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
    def test_too_little_space_is_seen_before(self, tmp_path, into, suffix, monkeypatch):
        archive = pack(tmp_path / f"x{suffix}", FILES)
        needed = sum(map(len, FILES.values()))
        free = [needed - 1]
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 0, free[0]))
        text = refused(archive, into, f"{needed} bytes are still to be written, {into} has {needed - 1} free")
        assert text.endswith("Free space or move the folder, then run again: what is complete is kept.")
        free[0] = needed
        unpack(archive, into)
        (into / "data/Videos.txt").unlink()
        free[0] = 4
        assert unpack(archive, into) == MEMBERS

    @pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
    @pytest.mark.parametrize(
        ("number", "message"),
        [
            (errno.ENOSPC, "the disk is full .* what is complete is kept"),
            (errno.EDQUOT, "the disk is full .* what is complete is kept"),
            (errno.EIO, "cannot be read or written"),
        ],
    )
    def test_an_error_of_the_disk_on_the_way(self, tmp_path, into, suffix, number, message, monkeypatch):
        archive = pack(tmp_path / f"x{suffix}", FILES)
        fail_reading(monkeypatch, suffix, 3, OSError(number, os.strerror(number)))  # each member is read twice
        refused(archive, into, f"'data/videos/deep/b.mp4': {message}", written=["data/videos/a.mp4"])

    @pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
    def test_a_disk_that_is_really_full(self, tmp_path, into, suffix, monkeypatch):
        into.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(into)]
        if os.geteuid() != 0 or not shutil.which("mount"):
            pytest.skip("mounting a small disk needs root and mount")
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
        if mounted.returncode:
            pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
        try:
            files = {"a.mp4": RANDOM.randbytes(300_000), "b.mp4": RANDOM.randbytes(2_000_000)}
            archive = pack(tmp_path / f"x{suffix}", files)
            refused(archive, into, r"2300000 bytes are still to be written, .* has \d+ free")
            monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 0, 10**9))
            refused(archive, into, "'b.mp4': the disk is full", written=["a.mp4"])
            before = marks(into)
            subprocess.run(["mount", "-o", "remount,size=4m", str(into)], check=True)
            unpack(archive, into)
            assert found(into) == files
            assert marks(into)["a.mp4"] == before["a.mp4"]
        finally:
            subprocess.run(["umount", str(into)], check=True)
