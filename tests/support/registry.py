#!/usr/bin/python3
"""What a registry serves of container images that hold next to nothing, and what must be in an archive of such.

    registry.py serve FOLDER IMAGE...       writes FOLDER/v2/NAME/manifests/... and .../blobs/...
    registry.py check ARCHIVE ARCH IMAGE... refuses an archive that is not an OCI layout of these images

Source: the OCI image specification, and its distribution specification.
"""

import gzip
import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def layer(text):
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        member = tarfile.TarInfo("image")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
    return plain.getvalue()


def serve(folder, image):
    name, tag = image.rsplit(":", 1)
    place = Path(folder) / "v2" / name

    def put(kind, name, content):
        path = place / kind / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def described(media, content, kind="blobs"):
        put(kind, digest(content), content)
        return {"mediaType": media, "digest": digest(content), "size": len(content)}

    # One layer is all images', as their base would be.
    shared = layer(b"shared")
    entries = [{**described(MANIFEST, b"{}", "manifests"),
                "platform": {"os": "unknown", "architecture": "unknown"}}]
    for arch in ["amd64", "arm64"]:
        own = layer(f"{image} {arch}".encode())
        config = {"os": "linux", "architecture": arch, "config": {},
                  "rootfs": {"type": "layers", "diff_ids": [digest(shared), digest(own)]}}
        layers = [described(LAYER, gzip.compress(it, mtime=0)) for it in [shared, own]]
        manifest = json.dumps({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": described(CONFIG, json.dumps(config).encode()), "layers": layers}).encode()
        entries.append({**described(MANIFEST, manifest, "manifests"),
                        "platform": {"os": "linux", "architecture": arch}})
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
    put("manifests", tag, index)
    put("manifests", digest(index), index)


def check(archive, arch, images):
    with tarfile.open(archive) as found:
        files = {it.name: found.extractfile(it).read() for it in found}
    assert json.loads(files.pop("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(files.pop("index.json"))
    blobs = {}
    for name, content in files.items():
        assert name == "blobs/" + digest(content).replace(":", "/"), name
        blobs[digest(content)] = content

    def read(descriptor):
        content = blobs[descriptor["digest"]]
        assert len(content) == descriptor["size"], descriptor
        used.add(descriptor["digest"])
        return content

    used, names = set(), []
    for descriptor in index["manifests"]:
        name = descriptor["annotations"]["io.containerd.image.name"]
        assert descriptor["annotations"]["org.opencontainers.image.ref.name"] == name
        assert descriptor["mediaType"] == MANIFEST, descriptor
        names.append(name)
        manifest = json.loads(read(descriptor))
        config = json.loads(read(manifest["config"]))
        assert (config["os"], config["architecture"]) == ("linux", arch), name
        layers = [gzip.decompress(read(it)) for it in manifest["layers"]]
        assert [digest(it) for it in layers] == config["rootfs"]["diff_ids"], name
        with tarfile.open(fileobj=io.BytesIO(layers[-1])) as last:
            text = last.extractfile("image").read().decode()
        assert text == f"{name} {arch}", (text, name)
    assert sorted(names) == sorted(images), (sorted(names), sorted(images))
    assert used == set(blobs), "blobs that no image has"


command, *arguments = sys.argv[1:]
if command == "serve":
    for image in arguments[1:]:
        serve(arguments[0], image)
elif command == "check":
    check(arguments[0], arguments[1], arguments[2:])
else:
    sys.exit(f"registry.py: {command}?")
