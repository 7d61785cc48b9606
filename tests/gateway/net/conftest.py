"""What several tests of this room need."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate and its key for upstream.test, made for this run."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    key = path.with_name("key.pem")
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-subj", "/CN=upstream.test", "-addext", "subjectAltName=DNS:upstream.test,DNS:proxy.test,DNS:localhost",
            "-keyout", str(key), "-out", str(path)]  # fmt: skip
    try:
        subprocess.run(made, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as wrong:
        pytest.skip(f"openssl makes no certificate: {wrong}")
    path.write_bytes(path.read_bytes() + key.read_bytes())
    return path
