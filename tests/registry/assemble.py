#!/usr/bin/python3
"""Puts a disk together by nothing but docs/registry.md: assemble.py MANIFEST BLOBS DISK

BLOBS is where a registry keeps blobs: xx/xx…/data.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

manifest, blobs, disk = map(Path, sys.argv[1:])


def blob(digest):
    digits = digest.removeprefix("sha256:")
    content = (blobs / digits[:2] / digits / "data").read_bytes()
    assert hashlib.sha256(content).hexdigest() == digits, digest
    return content


def unpack(frame):
    return subprocess.run(["zstd", "-dcq"], input=frame, stdout=subprocess.PIPE, check=True).stdout


layers = json.loads(manifest.read_bytes())["layers"]
index = json.loads(unpack(blob(layers[0]["digest"])))
packs = [blob(digest) for digest in index["packs"]]
assert index["packs"] == [layer["digest"] for layer in layers[1:]]
with disk.open("wb") as out:
    out.truncate(index["size"])
    for number, digest, pack, offset, length in index["windows"]:
        window = unpack(packs[pack][offset:offset + length])
        assert hashlib.sha256(window).hexdigest() == digest, number
        assert len(window) == min(index["window"], index["size"] - number * index["window"])
        out.seek(number * index["window"])
        out.write(window)
