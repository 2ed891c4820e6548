"""The clients: what each folder's client.toml says, how its program is built, and with which command it runs.

Run as a program it builds them all (`--fast`: those of the fast subset; or those that are named). The standard library
alone is used: this runs before there is a virtual environment.
"""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

import toolchain  # noqa: E402

# What a scenario is called in client.toml's `cannot`; scenarios.py and asking.py have them.
SCENARIOS = ("rotations", "inline", "proxy", "late", "refused", "mistakes", "storms", "window")
AROUND = {
    "process": "a [credential process](delivery.md#a-credential-process)",
    "metadata": "the [emulated metadata service](delivery.md#the-emulated-metadata-service)",
    "metadata v1": "the [emulated metadata service](delivery.md#the-emulated-metadata-service) with `v1: true`",
}
KINDS = ("program", "command", "absent")
OWN_FILES = {"client.toml", "seen.json", ".gitignore"}
# What the programs of one language have in common, a folder for each way to build.
PROTOCOL = HERE / "protocol"


@dataclass
class Client:
    """One client.toml. tests/clients/README.md says what each key means."""

    folder: Path
    name: str
    kind: str
    language: str
    version: object = None
    build: str = "debian"
    package: str = "."
    command: list = field(default_factory=list)
    debian: list = field(default_factory=list)
    call: str = "sts"
    fast: bool = False
    needs: str = ""
    traps: list = field(default_factory=list)
    environment: dict = field(default_factory=dict)
    token: str = "file"
    around: str = ""
    window: str = ""
    background: bool = False
    least: int = 0
    drawn: list = field(default_factory=list)
    why: str = ""
    instead: str = ""
    cannot: dict = field(default_factory=dict)

    def __post_init__(self):
        assert self.kind in KINDS, f"{self.id}: kind {self.kind!r}"
        assert self.token in ("file", "inline"), f"{self.id}: token {self.token!r}"
        assert not self.around or self.around in AROUND, f"{self.id}: around {self.around!r}"
        assert set(self.cannot) <= set(SCENARIOS), f"{self.id}: cannot {sorted(self.cannot)}"
        assert self.kind != "absent" or self.why, f"{self.id}: why is it absent?"

    @property
    def id(self):
        return self.folder.name

    @property
    def scenarios(self):
        """One that must go around the endpoint shows that it cannot ask it, and that the way around works."""

        return ("rotations", "around") if self.around else SCENARIOS

    @property
    def part(self):
        """What toolchain.py builds for it, or None."""

        if self.kind == "absent" or self.build == "debian":
            return None
        if self.build == "tests":
            return toolchain.PARTS["python"]
        compiler, build = BUILDERS[self.build]
        return toolchain.Part(f"client-{self.id}", self.inputs(), compiler, lambda folder: build(self, folder))

    def inputs(self):
        if self.build == "pip":
            return [self.folder / "requirements.txt"]  # the program is run from the checkout
        return sorted(
            path
            for folder in (self.folder, PROTOCOL / self.build)
            for path in folder.rglob("*")
            if path.is_file() and path.name not in OWN_FILES and "__pycache__" not in path.parts
        )

    def built(self):
        part = self.part
        if part is None:
            return self.folder
        if not part.complete:
            raise toolchain.Failed(f"{self.id} is not built: run tests/clients/prepare {self.id}")
        return part.folder

    def run_with(self, **places):
        """Its command and its own variables. {folder} is where it was built, {source} its folder in the checkout."""

        places |= {"folder": self.built(), "source": self.folder}
        own = {name: value.format(**places) for name, value in self.environment.items()}
        return [word.format(**places) for word in self.command], own

    def missing(self):
        """The Debian packages that it needs and this machine lacks."""

        return [package for package in self.debian if debian_version(package) is None]

    def pinned(self):
        """The version, from where it is pinned."""

        if not isinstance(self.version, dict):
            return self.version or ""
        ((where, what),) = self.version.items()
        if where == "debian":
            # Debian's own revision may move on under the same release.
            return re.sub(r"^\d+:|[-+~].*$", "", debian_version(what) or "")
        found = PINS[where](self.folder if self.build != "tests" else HERE.parent / "e2e", what)
        assert found, f"{self.id}: no version of {what}"
        return found


def debian_version(package):
    shown = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", package], capture_output=True, text=True
    )
    status, _, version = shown.stdout.partition(" ")
    return version if status == "installed" else None


def in_text(file, pattern):
    def look(folder, what):
        found = re.search(pattern.format(re.escape(what)), (folder / file).read_text(), re.MULTILINE)
        return found and found[1]

    return look


def in_npm_lock(folder, what):
    return json.loads((folder / "package-lock.json").read_text())["packages"][f"node_modules/{what}"]["version"]


# Where the version of a module, package, crate, artifact or project is found: the keys of client.toml's `version`.
PINS = {
    "module": in_text("go.mod", r"\b{} v(\S+)"),
    "package": in_npm_lock,
    "crate": in_text("Cargo.lock", r'name = "{}"\nversion = "(.*?)"'),
    "artifact": in_text("pom.xml", r"<artifactId>{}</artifactId>\s*<version>(.*?)</version>"),
    "project": in_text("requirements.txt", r"^{}==(\S+)$"),
}


def build_pip(client, folder):
    toolchain.run(sys.executable, "-m", "venv", folder)
    pip = (folder / "bin" / "python", "-m", "pip")
    toolchain.run(*pip, "install", "--quiet", "--no-deps", "-r", client.folder / "requirements.txt")
    toolchain.run(*pip, "check")


def build_go(client, folder):
    flags = ("-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags=-s -w")
    toolchain.run("nice", "go", "build", *flags, "-o", folder / "client", client.package, cwd=client.folder, CGO_ENABLED="0")


def build_npm(client, folder):
    for path in client.inputs():
        shutil.copy(path, folder)
    toolchain.run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", cwd=folder)


def build_maven(client, folder):
    shutil.copytree(client.folder, folder, dirs_exist_ok=True)
    shutil.copytree(PROTOCOL / "maven", folder / "src", dirs_exist_ok=True)
    libraries = folder / "libraries"
    copy = ("dependency:copy-dependencies", f"-DoutputDirectory={libraries}")
    kotlin = ["kotlin:compile"] if list(folder.glob("src/*.kt")) else []
    toolchain.run("nice", "mvn", "-q", "-B", *copy, *kotlin, cwd=folder)
    toolchain.run("javac", "-d", folder / "classes", "-cp", f"{libraries}/*", *sorted(folder.glob("src/*.java")))


def build_cargo(client, folder):
    # One target folder for all of them: they share most crates.
    target = toolchain.cache() / "e2e" / "clients-rust-target"
    manifest = client.folder / "Cargo.toml"
    toolchain.run("nice", "cargo", "build", "--locked", "--manifest-path", manifest, "--target-dir", target)
    program = tomllib.loads(manifest.read_text())["package"]["name"]
    shutil.copy(target / "debug" / program, folder / "client")


# What the folder in the cache also depends on, and what fills it.
BUILDERS = {
    "pip": ([sys.executable, "-c", "import sys; print(sys.version, sys.base_prefix)"], build_pip),
    "go": (["go", "version"], build_go),
    "npm": (["node", "--version"], build_npm),
    "maven": (["javac", "-version"], build_maven),
    "cargo": (["rustc", "--version"], build_cargo),
}


def clients():
    """All of them, in the order of the table: by language, then by name."""

    found = [
        Client(folder=path.parent, **tomllib.loads(path.read_text())) for path in sorted(HERE.glob("*/client.toml"))
    ]
    return sorted(found, key=lambda client: (client.language.lower(), client.name.lower()))


def client(name):
    return next(client for client in clients() if client.id == name)


def main():
    names = [word for word in sys.argv[1:] if not word.startswith("-")]
    chosen = [client for client in clients() if not names or client.id in names]
    if "--fast" in sys.argv[1:]:
        chosen = [client for client in chosen if client.fast]
    lacking = sorted({name for client in chosen for name in client.missing()})
    if lacking:
        print(f"clients: missing; on Debian 12 and later: apt-get install {' '.join(lacking)}", file=sys.stderr)
        return 1
    # The tests themselves run in the first.
    parts = [toolchain.PARTS["python"], *(client.part for client in chosen)]
    return toolchain.ensure("clients", {part.name: part for part in parts if part}.values())


if __name__ == "__main__":
    sys.exit(main())
