"""Fills an image: run inside a build by the services' Dockerfiles, never on a host.

    install.py tools                  what builds and is not in the image, the same for all: made once, and cached
    install.py dependencies SERVICE   the locked packages that SERVICE needs, and no others, into /opt/plimsoll
    install.py service SERVICE        SERVICE and our libraries that it needs, into /opt/service
    install.py servers PACKAGE…       these locked packages alone, into /opt/plimsoll

How the network is reached (certificates, proxies, indexes) comes as build secrets; nothing of it stays in a layer.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

_VENV, _TOOLS, _SERVICE = Path("/opt/plimsoll"), Path("/opt/tools"), Path("/opt/service")
_SECRETS, _STATE = Path("/run/secrets"), Path("/opt/state")
_OURS = "plimsoll-"


def main() -> None:
    """Do the step that the first argument names."""
    match sys.argv[1:]:
        case ["tools"]:
            _make_tools(_environment())
        case ["dependencies", service]:
            _install_dependencies(Path("services", service), _environment())
        case ["service", service]:
            _install_service(Path("services", service), _environment())
        case ["servers", *packages]:
            _install_servers(set(packages), _environment())
        case _:
            sys.exit("usage: install.py tools, dependencies|service SERVICE, or servers PACKAGE…")


def _install_dependencies(service: Path, environment: dict[str, str]) -> None:
    _run([sys.executable, "-m", "venv", "--without-pip", str(_VENV)], environment)
    wanted = _requirements(service)
    uv = [str(_TOOLS / "bin/uv"), "pip", "compile", "--quiet", "--python", str(_VENV / "bin/python")]
    compiled = _run(
        [*uv, "--no-header", "--no-annotate", "--constraints", "requirements.lock", "-"],
        environment,
        stdin="\n".join(wanted),
    )
    names = {_name(line) for line in compiled.splitlines() if line.strip()}
    _sync(_VENV, _locked(names), environment)
    _site(_VENV).joinpath("service.pth").write_text(f"{_SERVICE}\n")
    _make_repeatable(_VENV, environment)


def _install_service(service: Path, environment: dict[str, str]) -> None:
    wheels = Path("/tmp/wheels")  # noqa: S108 - inside a build nobody else is there
    for project in _projects(service):
        _run([str(_TOOLS / "bin/python"), "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)], environment, cwd=project)
    uv = [str(_TOOLS / "bin/uv"), "pip", "install", "--quiet", "--offline", "--no-deps", "--python", str(_VENV / "bin/python")]
    _run([*uv, "--target", str(_SERVICE), *map(str, sorted(wheels.glob("*.whl")))], environment)
    _make_repeatable(_SERVICE, environment)
    _STATE.mkdir()


def _install_servers(packages: set[str], environment: dict[str, str]) -> None:
    _run([sys.executable, "-m", "venv", "--without-pip", str(_VENV)], environment)
    _sync(_VENV, _locked(packages), environment)


def _make_tools(environment: dict[str, str]) -> None:
    """What builds and is not in the image: uv, and the builder of our own wheels, from the same lock."""
    _run([sys.executable, "-m", "venv", str(_TOOLS)], environment)
    _run([str(_TOOLS / "bin/python"), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", "requirements-setup.lock"], environment)
    _sync(_TOOLS, _locked({"hatchling", "packaging", "pathspec", "pluggy", "trove-classifiers"}), environment)


def _sync(venv: Path, requirements: str, environment: dict[str, str]) -> None:
    chosen = Path("/tmp/chosen.lock")  # noqa: S108 - inside a build nobody else is there
    chosen.write_text(requirements)
    uv = [str(_TOOLS / "bin/uv"), "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    _run([*uv, "--python", str(venv / "bin/python"), "-r", str(chosen)], environment)


def _requirements(service: Path) -> list[str]:
    """What the service and our libraries below it ask of others."""
    return sorted({one for project in _projects(service) for one in _asked(project) if not one.startswith(_OURS)})


def _projects(service: Path) -> list[Path]:
    """The service's project and those of our libraries that it needs."""
    found, open_ = [service], [service]
    while open_:
        for one in _asked(open_.pop()):
            library = Path("libs", one.removeprefix(_OURS))
            if one.startswith(_OURS) and library not in found:
                found.append(library)
                open_.append(library)
    return found


def _asked(project: Path) -> list[str]:
    return list(tomllib.loads((project / "pyproject.toml").read_text())["project"]["dependencies"])


def _locked(names: set[str]) -> str:
    """The entries of the lock for these names, with their versions, markers and hashes."""
    entries = re.split(r"\n(?=\S)", Path("requirements.lock").read_text().strip())
    chosen = [entry for entry in entries if not entry.startswith("#") and _name(entry) in names]
    missing = names - {_name(entry) for entry in chosen}
    if missing:
        sys.exit(f"requirements.lock does not hold {', '.join(sorted(missing))}: run `make lock`")
    return "\n".join(chosen) + "\n"


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""


def _site(venv: Path) -> Path:
    return next(venv.glob("lib/python3*/site-packages"))


def _make_repeatable(tree: Path, environment: dict[str, str]) -> None:
    """The same input makes the same bytes: no trace of when and where it was installed, and one time for every file."""
    for name in ("uv_cache.json", "direct_url.json", "INSTALLER", "REQUESTED", "RECORD"):
        for path in tree.rglob(f"*.dist-info/{name}"):
            path.unlink()
    for folder in [*tree.rglob("__pycache__"), *tree.rglob("site-packages/*/tests")]:
        shutil.rmtree(folder, ignore_errors=True)
    (tree / ".lock").unlink(missing_ok=True)
    _run([str(_VENV / "bin/python"), "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash", str(tree)], environment)
    at = int(environment["SOURCE_DATE_EPOCH"])
    for path in [tree, *tree.rglob("*")]:
        os.utime(path, (at, at), follow_symlinks=False)


def _environment() -> dict[str, str]:
    """Ours, and what the secrets add: a file `network` of NAME=value lines, a bundle `ca`, and pip's configuration `pip`."""
    environment = dict(os.environ) | {"UV_LINK_MODE": "copy", "UV_NO_CONFIG": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if (_SECRETS / "network").exists():
        environment |= dict(line.split("=", 1) for line in (_SECRETS / "network").read_text().splitlines() if "=" in line)
    if (_SECRETS / "ca").exists():
        environment |= {"SSL_CERT_FILE": str(_SECRETS / "ca"), "PIP_CERT": str(_SECRETS / "ca")}
    if (_SECRETS / "pip").exists():
        environment["PIP_CONFIG_FILE"] = str(_SECRETS / "pip")
    return environment


def _run(command: list[str], environment: dict[str, str], *, cwd: Path | None = None, stdin: str = "") -> str:
    done = subprocess.run(command, env=environment, cwd=cwd, input=stdin, text=True, stdout=subprocess.PIPE, check=False)  # noqa: S603 - our own words
    if done.returncode != 0:
        sys.exit(f"{' '.join(command[:5])} … ended with {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    main()
