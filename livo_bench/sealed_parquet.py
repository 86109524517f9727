"""Parquet files with a seal: 32 bytes between columns and footer, where no column points.

Any Parquet reader opens them. The seal is the SHA-256 of all other bytes and of whose file it is.
"""

from __future__ import annotations

import hashlib
import io

import pyarrow as pa
import pyarrow.parquet as pq

_SEAL_BYTES = 32
_TRAILER_BYTES = 8
"""Length of the end of every Parquet file: the footer's length, little-endian, and `PAR1`."""


def to_sealed_parquet(
    table: pa.Table, compression: str | dict[str, str], owner: bytes = b""
) -> bytes:
    """A Parquet file with a seal between its columns and its footer.

    Args:
        table: What it holds.
        compression: Compression as pyarrow takes it.
        owner: Owner of the file: the seal binds the file to it.
    """
    sink = io.BytesIO()
    pq.write_table(
        table,
        sink,
        compression=compression,
        # Keys and pictures are all different; their statistics would be copies of them.
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )
    data = sink.getvalue()
    end = _end_of_columns(data)
    return data[:end] + _digest(owner, data[:end], data[end:]) + data[end:]


def seal_holds(data: bytes, owner: bytes = b"") -> bool:
    """Whether bytes are a file that `to_sealed_parquet` made for an owner."""
    end = _end_of_columns(data)
    start = end - _SEAL_BYTES
    return start >= 0 and data[start:end] == _digest(owner, memoryview(data)[:start], data[end:])


def _end_of_columns(data: bytes) -> int:
    """Where the footer begins; negative in bytes that are no Parquet file."""
    return len(data) - _TRAILER_BYTES - int.from_bytes(data[-_TRAILER_BYTES:-4], "little")


def _digest(owner: bytes, columns: bytes | memoryview, footer: bytes) -> bytes:
    """Digest a file; columns begin with `PAR1`, so that no other owner gives the same bytes."""
    digest = hashlib.sha256(owner)
    digest.update(columns)
    digest.update(footer)
    return digest.digest()
