"""What deploy/image/compile needs on a machine whose rustup cannot add the musl target: Zig, and for each architecture a
standard library made from the compiler's own sources. Those are rustup's component rust-src, or Debian's package of the
same version.
"""

import os
import re
import shutil
import sys
from pathlib import Path

IMAGE = Path(__file__).resolve().parents[2] / "deploy" / "image"
# Where Debian keeps the compilers that are newer than its releases.
SUITE = "trixie-backports"


def build_zig(folder, run):
    """Makes the folder a virtual environment with Zig."""

    run(sys.executable, "-m", "venv", folder)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    run(*pip, "-r", IMAGE / "requirements.txt")


def build_library(folder, machine, run):
    """Makes the folder a sysroot with the standard library for a machine, as uname calls it: x86_64 or aarch64."""

    with_sources = folder / "sources"
    library = _of_rustup(run) or _of_debian(with_sources, run)
    _compile(library, folder, machine, run)
    shutil.rmtree(with_sources, ignore_errors=True)


def _of_rustup(run):
    library = Path(run("rustc", "--print", "sysroot").strip()) / "lib" / "rustlib" / "src" / "rust" / "library"
    return library if library.is_dir() else None


def _of_debian(folder, run):
    if shutil.which("apt-get") is None:
        raise LookupError("rustc's own sources are needed: rustup component add rust-src")
    version = re.search(r"^release: (\S+)", run("rustc", "-vV"), re.MULTILINE)[1]
    apt = _apt(folder, run)
    found = re.findall(rf"^Version: ({re.escape(version)}\+\S+)", run(*apt("apt-cache"), "show", "rust-src"), re.MULTILINE)
    if not found:
        raise LookupError(f"Debian's {SUITE} has no rust-src {version}: rustup component add rust-src")
    run(*apt("apt-get"), "download", f"rust-src={found[0]}", cwd=folder)
    (package,) = folder.glob("rust-src_*.deb")
    run("dpkg-deb", "--extract", package, folder)
    return folder / "usr" / "src" / f"rustc-{version}" / "library"


def _apt(folder, run):
    """Package lists of their own, so that the machine's stay as they are. The mirror is the machine's."""

    mirrors = run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Label: Debian", "Created-By: Packages")
    mirror = mirrors.split()[0]
    (folder / "lists" / "partial").mkdir(parents=True)
    (folder / "cache" / "archives" / "partial").mkdir(parents=True)
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (folder / "sources.list").write_text(f"deb [signed-by={keyring}] {mirror} {SUITE} main\n")
    settings = {
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    command = lambda program: [program, *options]
    run(*command("apt-get"), "-q", "update")
    return command


def _compile(library, folder, machine, run):
    """As the compiler's own build makes it: optimised, with bitcode for the link of everything at once."""

    target = f"{machine}-unknown-linux-musl"
    cargo_home = os.environ.get("CARGO_HOME", Path.home() / ".cargo")
    hidden = f"--remap-path-prefix={library.parent}=/rustc --remap-path-prefix={cargo_home}=/cargo"
    flags = f"-Cembed-bitcode=yes -Zforce-unstable-if-unmarked -Cpanic=unwind {hidden}"
    built = folder / "target"
    run(
        *("cargo", "build", "--release", "--locked", "--target", target, "--target-dir", built),
        *("--manifest-path", library / "sysroot" / "Cargo.toml", "--features", "backtrace panic-unwind"),
        cwd=library,
        RUSTC_BOOTSTRAP="1",
        **{f"CARGO_TARGET_{target.upper().replace('-', '_')}_RUSTFLAGS": flags},
    )
    kept = folder / "lib" / "rustlib" / target / "lib"
    kept.mkdir(parents=True)
    for crate in (built / target / "release" / "deps").glob("*.rlib"):
        shutil.copy(crate, kept)
    shutil.rmtree(built)
