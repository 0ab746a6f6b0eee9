"""``python -m package.release``: what ``scripts/release`` does."""

import argparse
import getpass
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from package.repository import DraftError, Repository, load_public, load_signer, make_key
from package.suites import MACHINES, SUITES, Target, choose

TREE = Path(__file__).parents[1]
LIST = "releases.json"


def main() -> int:
    """Carry out one step."""
    parser = argparse.ArgumentParser(prog="scripts/release")
    verbs = parser.add_subparsers(dest="verb", required=True)
    new_key = verbs.add_parser("new-key")
    new_key.add_argument("file", type=Path)
    root = verbs.add_parser("root")
    root.add_argument("repo", type=Path)
    for role in ("root", "targets"):
        root.add_argument(f"--{role}-key", type=Path, action="append", required=True, help="three of them")
    root.add_argument("--online-key", type=Path, required=True)
    build = verbs.add_parser("build")
    build.add_argument("repo", type=Path)
    build.add_argument("tag")
    build.add_argument("--minimum", required=True, help="the oldest version that a gateway may still go back to")
    build.add_argument("--url", required=True, help="the web folder that gateways will ask")
    build.add_argument("--notes", default="", help="what an owner should know")
    build.add_argument("--only", action="append", metavar="SUITE/ARCH", help="not all of them: for a trial")
    build.add_argument("--level", default="6", help="of compression")
    sign = verbs.add_parser("sign")
    sign.add_argument("draft", type=Path)
    sign.add_argument("key", type=Path)
    publish = verbs.add_parser("publish")
    publish.add_argument("repo", type=Path)
    publish.add_argument("key", type=Path)
    for each in (new_key, sign, publish):
        each.add_argument("--passphrase-file", type=Path)
    args = parser.parse_args()
    try:
        return {"new-key": _new_key, "root": _root, "build": _build, "sign": _sign, "publish": _publish}[args.verb](
            args
        )
    except (DraftError, OSError, ValueError, subprocess.CalledProcessError) as error:
        print(f"release: error: {error}", file=sys.stderr)
        return 1


def _passphrase(args: argparse.Namespace) -> bytes:
    if args.passphrase_file is not None:
        return args.passphrase_file.read_bytes().rstrip(b"\n")
    return getpass.getpass("the key's passphrase: ").encode()


def _new_key(args: argparse.Namespace) -> int:
    private, public = make_key(_passphrase(args))
    with os.fdopen(os.open(args.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(private)
    args.file.with_name(args.file.name + ".pub").write_bytes(public)
    return 0


def _root(args: argparse.Namespace) -> int:
    roots, targets = ([load_public(path.read_bytes()) for path in paths] for paths in (args.root_key, args.targets_key))
    if len(set(args.root_key)) != 3 or len(set(args.targets_key)) != 3:
        raise DraftError("three keys for root and three for targets")
    print(
        Repository(args.repo).draft_root(roots, targets, load_public(args.online_key.read_bytes()), datetime.now(UTC))
    )
    return 0


def _sign(args: argparse.Namespace) -> int:
    Repository(args.draft.parents[1]).sign(args.draft, load_signer(args.key.read_bytes(), _passphrase(args)))
    return 0


def _publish(args: argparse.Namespace) -> int:
    Repository(args.repo).publish(load_signer(args.key.read_bytes(), _passphrase(args)), datetime.now(UTC))
    return 0


def _build(args: argparse.Namespace) -> int:
    """Build a tag in a tree of its own, so that nothing that is not committed gets into a release."""
    repo = Repository(args.repo)
    root = repo.newest_root()
    version = args.tag.removeprefix("v")
    wanted = [each.split("/") for each in args.only] if args.only else [[s, m] for s in SUITES for m in MACHINES]
    with tempfile.TemporaryDirectory() as work:
        tree, out = Path(work) / "tree", Path(work) / "out"
        out.mkdir()
        subprocess.run(["git", "clone", "-q", "--branch", args.tag, str(TREE), str(tree)], check=True, timeout=600)
        files = dict(repo.published())
        listed = json.loads(files[LIST].read_bytes())["packages"] if LIST in files else {}
        for suite, arch in wanted:
            words = [tree / "scripts/package", "--out", out, "--update-root", root.resolve(), "--update-url", args.url]
            subprocess.run([*words, "--level", args.level, suite, arch], check=True, timeout=3600, stdout=sys.stderr)
            deb = out / f"edge-agent_{version}~{suite}_{arch}.deb"
            parts = write_parts(tree, Target(suite, arch), deb.with_suffix(".cdx.json"))
            files |= {deb.name: deb, parts.name: parts}
            listed.setdefault(f"{suite}/{arch}", {})[version] = deb.name
        files, listed = _drop_old(files, listed, args.minimum)
        content = {"format": 1, "version": version, "minimum": args.minimum, "notes": args.notes, "packages": listed}
        files[LIST] = Path(work) / LIST
        files[LIST].write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
        print(repo.draft_targets(files, datetime.now(UTC)))
    return 0


def write_parts(tree: Path, target: Target, to: Path) -> Path:
    """Write the list of a package's parts, with their versions and hashes, as CycloneDX."""
    lines = choose((tree / "requirements/runtime.lock").read_text(), target)
    words = [sys.executable, "-m", "cyclonedx_py", "requirements", "--output-reproducible", "--of", "JSON"]
    words += ["--mc-type", "application", "--pyproject", str(_describe(tree, to.parent)), "-o", str(to), "-"]
    subprocess.run(words, input="\n".join(lines.values()), text=True, check=True, timeout=300, capture_output=True)
    return to


def _describe(tree: Path, folder: Path) -> Path:
    """Name the whole as CycloneDX wants it: the project itself keeps its metadata in setup.cfg."""
    scope: dict[str, str] = {}
    exec((tree / "edge_agent/__init__.py").read_text(), scope)  # noqa: S102  (a string and a docstring of this project)
    path = folder / "pyproject.toml"
    path.write_text(f'[project]\nname = "edge-agent"\nversion = "{scope["__version__"]}"\n')
    return path


def _drop_old(
    files: dict[str, Path], listed: dict[str, dict[str, str]], minimum: str
) -> tuple[dict[str, Path], dict[str, dict[str, str]]]:
    least = [int(part) for part in minimum.split(".")]
    kept = {
        kind: {version: name for version, name in names.items() if [int(part) for part in version.split(".")] >= least}
        for kind, names in listed.items()
    }
    names = {name.removesuffix(".deb") for each in kept.values() for name in each.values()}
    return {
        name: path for name, path in files.items() if name.removesuffix(".deb").removesuffix(".cdx.json") in names
    }, kept


if __name__ == "__main__":
    sys.exit(main())
