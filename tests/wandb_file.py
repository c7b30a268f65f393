"""Reads W&B's offline files, with W&B's message types and without its client."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read_records(file: Path) -> Iterator[Any]:
    """The records of a .wandb file: LevelDB's log format (blocks of 32 KiB; checksum, length, type) behind 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    content, place, parts = file.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def find_file(folder: Path) -> Path:
    """The one offline file of a run folder."""
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    return file


def read_rows(file: Path) -> list[dict[str, Any]]:
    """The rows of the history."""
    records = (record for record in read_records(file) if record.WhichOneof("record_type") == "history")
    return [items(record.history.item) for record in records]


def items(pairs: Any) -> dict[str, Any]:
    """The content of a repeated field of keys and JSON values."""
    content: dict[str, Any] = {}
    for pair in pairs:
        *parents, name = pair.nested_key or [pair.key]
        node = content
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = json.loads(pair.value_json)
    return content
