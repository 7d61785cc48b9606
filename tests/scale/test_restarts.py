"""Restarts in good order behind nginx, under load: new workers, new gateways, other configurations. No call fails for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from deployment import Deployment, config_with, need_all
from running import made_up, until
from soak_faults import Fault, Faults
from soak_load import Answers, Load

pytestmark = pytest.mark.slow

ROUNDS = 3
CALLS = 40  # between two restarts


@pytest.fixture
def answers() -> Iterator[Answers]:
    made = Answers()
    yield made
    made.close()


def test_no_call_behind_nginx_fails_for_a_restart_in_good_order(tmp_path: Path, answers: Answers) -> None:
    need_all()
    secret = made_up("free")
    config = config_with(answers.server.url, "any_model = true", f'[[keys]]\nname = "free"\nkey = "{secret}"')
    with Deployment(tmp_path, config) as site:
        load = Load(site.port, {"free": secret}, site.place_at, keys={"free": 1})
        faults = Faults(site, Random(1))
        load.start()

        def served(more: int) -> None:
            goal = len(load.calls) + more
            until(lambda: len(load.calls) >= goal, "calls go on")

        for number in range(ROUNDS):
            for deed in (faults.replace_workers, faults.restart_gateway, faults.reload):
                deed(Fault(deed.__name__, 0.0, place=number % 2))
                served(CALLS)
        load.stop()
    failed = [made for made in load.calls if made.how == "gone" or (made.how == "cut" and made.model != "cut")]
    odd = [made for made in load.calls if made.how == "refused" and made.model != "bad"]
    print(f"{len(load.calls)} calls beside {3 * ROUNDS} restarts: {len(failed)} failed, {len(odd)} refused")
    assert len(load.calls) > 3 * ROUNDS * CALLS and not failed and not odd, (failed[:5], odd[:5])
