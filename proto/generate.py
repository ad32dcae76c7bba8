"""Generate, lint and compare the contracts; the one place that knows how protobuf tools are called.

usage: generate.py [code [OUT] | lint | breaking | release]

code      writes the Python code below OUT (default: libs/contracts/src)
lint      runs buf's STANDARD rules
breaking  compares with the last released contracts (proto/released.binpb), WIRE_JSON
release   records the present contracts as released
"""

import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
RELEASED = HERE / "released.binpb"
DEFAULT_OUT = HERE.parent / "libs" / "contracts" / "src"
SITE = Path(sysconfig.get_path("purelib"))
SCRIPTS = Path(sysconfig.get_path("scripts"))


def protos() -> list[str]:
    """Paths of all contracts, relative to proto/."""
    return sorted(str(path.relative_to(HERE)) for path in (HERE / "plimsoll").rglob("*.proto"))


def generate(out: Path) -> None:
    """Write messages, stubs and their types; then drop the empty service modules that protoc writes for plain files."""
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{HERE}", f"-I{SITE}"]
    command += [f"--plugin=protoc-gen-{name}={SCRIPTS / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    command += [f"--{kind}={out}" for kind in ("python_out", "grpc_python_out", "mypy_out", "mypy_grpc_out")]
    subprocess.run([*command, *protos()], check=True, stderr=subprocess.DEVNULL)
    for stub in out.rglob("*_pb2_grpc.py"):
        if not re.search(r"^class \w+Stub", stub.read_text(), re.MULTILINE):
            stub.unlink()
            stub.with_suffix(".pyi").unlink(missing_ok=True)
    (out / "plimsoll" / "py.typed").touch()


def buf(*arguments: str) -> int:
    """Run buf over the contracts, with the annotations that googleapis-common-protos ships beside them."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        shutil.copytree(HERE / "plimsoll", root / "contracts" / "plimsoll")
        (root / "vendor" / "google" / "api").mkdir(parents=True)
        for name in ("annotations.proto", "http.proto"):
            shutil.copy(SITE / "google" / "api" / name, root / "vendor" / "google" / "api" / name)
        rules = (HERE / "buf.yaml").read_text()
        (root / "buf.yaml").write_text(
            re.sub(
                r"modules:\n.*?\n(?=\w)",
                "modules:\n  - path: contracts\n  - path: vendor\n    lint: {ignore: [vendor]}\n",
                rules,
                flags=re.DOTALL,
            )
        )
        return subprocess.run([SCRIPTS / "buf", *arguments], cwd=root, check=False).returncode


def main(arguments: list[str]) -> int:
    match arguments or ["code"]:
        case ["code"]:
            generate(DEFAULT_OUT)
            return 0
        case ["code", out]:
            generate(Path(out))
            return 0
        case ["lint"]:
            return buf("lint")
        case ["breaking"]:
            return buf("breaking", "--against", str(RELEASED))
        case ["release"]:
            return buf("build", "--exclude-source-info", "-o", str(RELEASED))
        case _:
            print(__doc__)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
