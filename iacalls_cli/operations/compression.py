"""Compressed files as streams of bytes, in constant memory: zstd with threads, and gzip, xz and bzip2 to read.

pg_dump compresses with zlib on one core, and knows zstd only from version 16 on where it was
built in. zstd of the `zstandard` library does the same work on all cores for every version.
"""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import zstandard

from iacalls_cli.errors import IacallsError, UsageError
from iacalls_cli.operations.files import CHUNK_BYTES

ZSTD, GZIP, XZ, BZIP2 = b"\x28\xb5\x2f\xfd", b"\x1f\x8b", b"\xfd7zXZ\x00", b"BZh"
MAGIC_BYTES = 6
LEVELS = {"zstd": (1, 19), "gzip": (1, 9)}
# zstd's own library does not say when a stream ends in the middle of a frame. A frame of ours
# behind the file comes out at the end only if all before it was whole.
END = b"\x00iacalls: the whole file was read\x00"
DAMAGE = (zstandard.ZstdError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, EOFError)


@dataclass(frozen=True)
class Compression:
    """A method with its level: zstd:1, gzip:6, or none."""

    method: str
    level: int = 0

    def __str__(self) -> str:
        return f"{self.method}:{self.level}" if self.level else self.method

    @property
    def suffix(self) -> str:
        """How the names of files compressed by it end."""
        return {"zstd": ".zst", "gzip": ".gz"}.get(self.method, "")


def read_compression(text: str) -> Compression:
    """A compression as people type it; raises `UsageError` for what it is not."""
    match = re.fullmatch(r"(zstd|gzip)(?::(\d{1,2}))?", text)
    if text == "none":
        return Compression("none")
    if match:
        low, high = LEVELS[match[1]]
        level = int(match[2] or {"zstd": 1, "gzip": 6}[match[1]])
        if low <= level <= high:
            return Compression(match[1], level)
    raise UsageError(f"--compress cannot be {text!r}", "it is zstd:1 to zstd:19, gzip:1 to gzip:9, or none")


class HashedFile(io.RawIOBase):
    """A new file for its owner alone, that knows the SHA-256 of what was written to it."""

    def __init__(self, path: Path) -> None:
        self.handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: object) -> int:
        """Write all of it."""
        view = memoryview(cast("bytes", data))
        self.digest.update(view)
        done = 0
        while done < len(view):
            done += os.write(self.handle, view[done:])
        return done

    def close(self) -> None:
        """Close it once what was written is on the disk."""
        if not self.closed:
            try:
                os.fsync(self.handle)
            finally:
                os.close(self.handle)
                super().close()


@contextmanager
def compressing(path: Path, level: int, threads: int) -> Iterator[tuple[IO[bytes], "hashlib._Hash"]]:
    """A stream whose bytes end up zstd-compressed in a new file, and the digest of that file."""
    with HashedFile(path) as file:
        # Long-distance matching finds what repeats over megabytes, as rows do, and costs no time here.
        parameters = zstandard.ZstdCompressionParameters.from_level(
            level, threads=threads, write_checksum=True, window_log=24, enable_ldm=True
        )
        compressor = zstandard.ZstdCompressor(compression_params=parameters)
        writer = cast("IO[bytes]", compressor.stream_writer(cast("IO[bytes]", file), closefd=False))
        yield writer, file.digest
        # Not after a failure: what is still in it would be compressed for nothing, at high levels for long.
        writer.close()


def read_chunks(path: Path) -> Iterator[bytes]:
    """The decompressed content of a file, in pieces of at most a megabyte; compression is told by its first bytes.

    Raises `IacallsError` where the file is damaged or ends too early.
    """
    with path.open("rb") as file:
        magic = file.read(MAGIC_BYTES)
        file.seek(0)
        try:
            if magic.startswith(ZSTD):
                yield from read_zstd(file)
            else:
                stream = open_stream(file, magic)
                while chunk := stream.read(CHUNK_BYTES):
                    yield chunk
        except DAMAGE as error:
            raise IacallsError(f"{path.name} is damaged: {error}") from None
        except OSError as error:
            # bzip2's library tells damage this way, and with no number of the system's.
            if error.errno is not None:
                raise
            raise IacallsError(f"{path.name} is damaged: {error}") from None


def open_stream(file: IO[bytes], magic: bytes) -> IO[bytes]:
    """A file's content as its first bytes say it is compressed: by gzip, xz or bzip2, or not at all."""
    if magic.startswith(GZIP):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=file))
    if magic == XZ:
        return cast("IO[bytes]", lzma.LZMAFile(file))
    if magic.startswith(BZIP2):
        return cast("IO[bytes]", bz2.BZ2File(file))
    return file


def read_zstd(file: IO[bytes]) -> Iterator[bytes]:
    """The content of all frames of a zstd file; raises `EOFError` where it ends in the middle of one."""
    source = FollowedFile(file, zstandard.ZstdCompressor().compress(END))
    stream = zstandard.ZstdDecompressor().stream_reader(cast("IO[bytes]", source), read_across_frames=True)
    # The last two pieces are held back: between them the end of the frame of ours may lie.
    held: list[bytes] = []
    while chunk := stream.read(CHUNK_BYTES):
        held.append(chunk)
        if len(held) > 2:
            yield held.pop(0)
    rest = b"".join(held)
    if not rest.endswith(END):
        yield rest
        raise EOFError("it ends too early")
    yield rest[: -len(END)]


class FollowedFile:
    """A file with some bytes behind its end."""

    def __init__(self, file: IO[bytes], behind: bytes) -> None:
        self.file, self.behind = file, behind

    def read(self, size: int = -1) -> bytes:
        """The next bytes: the file's, and when those are all read the ones behind."""
        if chunk := self.file.read(size):
            return chunk
        chunk, self.behind = self.behind, b""
        return chunk


def is_compressed(path: Path) -> bool:
    """Whether a file's first bytes are those of zstd, gzip, xz or bzip2."""
    with path.open("rb") as file:
        return file.read(MAGIC_BYTES).startswith((ZSTD, GZIP, XZ, BZIP2))


def decompress(source: Path, target: Path) -> None:
    """Write the content of a compressed file into a new one."""
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        for chunk in read_chunks(source):
            file.write(chunk)


def compress_file(path: Path, level: int, threads: int) -> str:
    """Replace a file by its compressed self, NAME.zst; returns the SHA-256 of that."""
    target = path.with_name(path.name + ".zst")
    with compressing(target, level, threads) as (writer, digest), path.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            writer.write(chunk)
    path.unlink()
    return digest.hexdigest()
