"""NGINX and wrk: the installed ones, or Debian's packages unpacked under target/, which starts no service."""

import dataclasses
import os
import pathlib
import shutil
import subprocess

from processes import BenchError

# Nothing is installed: the files are unpacked and used where they lie. The libraries are those
# that a bare Debian may lack.
_PACKAGES = ["nginx", "libnginx-mod-http-js", "wrk", "libluajit-5.1-2", "libpcre2-8-0"]
_MODULE = "usr/lib/nginx/modules/ngx_http_js_module.so"


@dataclasses.dataclass(frozen=True)
class Tools:
    """Where the programs are; `njs` is NGINX's JavaScript module, or None."""

    nginx: str
    wrk: str
    njs: str | None
    env: dict[str, str]

    def versions(self) -> dict[str, str]:
        """What is compared, for the report."""
        nginx = _output([self.nginx, "-v"], self.env)
        wrk = _output([self.wrk, "-v"], self.env)
        return {"nginx": nginx.removeprefix("nginx version: "), "wrk": " ".join(wrk.split()[:2])}


def find(cache: pathlib.Path) -> Tools:
    """The tools on PATH, else those in `cache`, else downloaded into `cache` with apt-get."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    nginx, wrk = shutil.which("nginx", path=path), shutil.which("wrk", path=path)
    env = {"PATH": path, "LANG": "C.UTF-8"}
    if nginx and wrk:
        installed = pathlib.Path("/") / _MODULE
        return _usable(Tools(nginx, wrk, str(installed) if installed.exists() else None, env))
    if not (cache / "complete").exists():
        _unpack(cache)
    libraries = sorted(
        {str(found.parent) for found in cache.glob("**/*.so*") if "modules" not in found.parts}
    )
    env["LD_LIBRARY_PATH"] = ":".join(libraries)
    njs = cache / _MODULE
    return _usable(
        Tools(
            nginx or str(cache / "usr/sbin/nginx"),
            wrk or str(cache / "usr/bin/wrk"),
            # A module loads only into the very build it was made for.
            str(njs) if not nginx and njs.exists() else None,
            env,
        )
    )


def _usable(tools: Tools) -> Tools:
    for program in (tools.nginx, tools.wrk):
        try:
            output = _output([program, "-v"], tools.env)
        except OSError as error:
            raise BenchError(f"{program} cannot be run: {error}") from error
        if "error while loading" in output:
            raise BenchError(f"{program} cannot be run (apt-get install nginx wrk helps): {output.strip()}")
    return tools


def _output(command: list[str], env: dict[str, str]) -> str:
    # Both print their version on stderr or stdout and exit with 0 or 1.
    return subprocess.run(
        command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=10, check=False
    ).stdout.strip()


def _unpack(cache: pathlib.Path) -> None:
    if not shutil.which("apt-get"):
        raise BenchError("nginx and wrk are needed on PATH (this is no Debian, so they cannot be fetched)")
    shutil.rmtree(cache, ignore_errors=True)
    packages = cache / "packages"
    packages.mkdir(parents=True)
    download = ["apt-get", "download", "-q", *_PACKAGES]
    if subprocess.run(download, cwd=packages, capture_output=True, check=False).returncode != 0:
        # Package lists that are missing or stale are the usual reason; only root may renew them.
        if os.geteuid() == 0:
            subprocess.run(["apt-get", "update", "-q"], capture_output=True, check=False)
        result = subprocess.run(download, cwd=packages, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise BenchError(f"apt-get download {' '.join(_PACKAGES)} failed:\n{result.stderr}")
    for package in sorted(packages.glob("*.deb")):
        subprocess.run(["dpkg", "-x", str(package), str(cache)], check=True)
    (cache / "complete").touch()
