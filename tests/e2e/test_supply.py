"""What the image's binary is made of: the list that is in it, and the SBOM."""

import json
import os
import re
import subprocess
import tomllib
import zlib

import pytest

import images


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compiled")
    images.compile_relay(folder)
    return folder / "credential-relay"


@pytest.fixture(scope="module")
def sbom():
    given = {**os.environ, "TARGETARCH": images.ARCHITECTURE, "SOURCE_DATE_EPOCH": "0"}
    command = [images.ROOT / "deploy" / "image" / "sbom"]
    ran = subprocess.run(command, env=given, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def listed(binary):
    """What `cargo auditable` wrote into a binary: JSON in zlib's format, in a section of its own."""

    read = subprocess.run(["readelf", "--wide", "--section-headers", binary], capture_output=True, text=True, check=True)
    found = re.search(r"\.dep-v0 +PROGBITS +[0-9a-f]+ ([0-9a-f]+) ([0-9a-f]+)", read.stdout)
    assert found, read.stdout
    offset, size = (int(number, 16) for number in found.groups())
    return json.loads(zlib.decompress(binary.read_bytes()[offset : offset + size]))["packages"]


def crates(sbom):
    """The crates of the document by name and version, and whether each is in the binary."""

    parts = [sbom["metadata"]["component"], *sbom["components"]]
    cargos = [part for part in parts if part["purl"].startswith("pkg:cargo/")]
    return {(part["name"], part["version"]): part.get("scope") != "excluded" for part in cargos}


def lock():
    packages = tomllib.loads((images.ROOT / "Cargo.lock").read_text())["package"]
    return {(package["name"], package["version"]): package.get("checksum") for package in packages}


def tree(edges):
    """What cargo resolves for the image."""

    target = f"{images.MACHINES[images.ARCHITECTURE]}-unknown-linux-musl"
    words = ["--no-default-features", "--target", target, "--edges", edges, "--prefix", "none", "--format", "{p}"]
    told = subprocess.run(["cargo", "tree", "--locked", *words], cwd=images.ROOT, capture_output=True, text=True, check=True)
    return set(re.findall(r"^(\S+) v(\S+)", told.stdout, re.MULTILINE))


def test_the_binary_says_what_it_is_made_of(binary, sbom):
    packages = listed(binary)
    said = {(package["name"], package["version"]) for package in packages}
    assert said <= set(lock())
    assert set(crates(sbom)) <= said, "something of the build is not listed"
    # `cargo metadata`, which it asks, names a few more, for features that this build has not; but none of the tests' own.
    assert not {"tempfile", "aws-smithy-http-client", "aws-config"} & {name for name, _ in said}
    (root,) = (package for package in packages if package.get("root"))
    assert root["name"] == "credential-relay"
    linked = {(package["name"], package["version"]) for package in packages if package.get("kind", "runtime") == "runtime"}
    assert {crate for crate, is_linked in crates(sbom).items() if is_linked} <= linked


def test_the_sbom_names_the_crates_of_the_build_and_nothing_else(sbom):
    assert set(crates(sbom)) == tree("normal,build")
    for tests_alone in ("tempfile", "aws-smithy-http-client", "aws-config", "pem"):
        assert tests_alone in {name for name, _ in lock()}
        assert tests_alone not in {name for name, _ in crates(sbom)}
    known = lock()
    for part in sbom["components"]:
        checksum = known.get((part["name"], part["version"]))
        assert [entry["content"] for entry in part.get("hashes", [])] == ([checksum] if checksum else [])


def test_every_part_of_the_sbom_has_a_licence_that_may_come_in(sbom):
    allowed = set(tomllib.loads((images.ROOT / "deny.toml").read_text())["licenses"]["allow"])
    for part in sbom["components"]:
        (licence,) = part["licenses"]
        # One of an OR is enough, and all of an AND are needed: each has at least one that may come in.
        choices = [re.split(r" OR ", term.strip("()")) for term in licence["expression"].split(" AND ")]
        assert all(allowed & set(choice) for choice in choices), part


def test_the_sbom_hangs_together(sbom):
    references = [part["bom-ref"] for part in [sbom["metadata"]["component"], *sbom["components"]]]
    assert len(references) == len(set(references))
    entries = {entry["ref"]: entry["dependsOn"] for entry in sbom["dependencies"]}
    reached, ahead = set(), [references[0]]
    while ahead:
        reference = ahead.pop()
        if reference not in reached:
            reached.add(reference)
            ahead += entries.get(reference, [])
    assert reached == set(references), "a part that nothing needs"
