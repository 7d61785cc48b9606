"""The table of connections that processes share: each sees its own number and the others'."""

import os

import pytest

from llm_router_gateway.net.shares import Shares, shared_memory


@pytest.mark.skipif(os.name != "posix", reason="descriptors are shared on POSIX alone")
def test_a_process_is_ahead_while_it_has_more_than_the_average() -> None:
    memory = shared_memory()
    one, two, home = Shares(memory, 0), Shares(memory, 1), Shares(memory, 9)
    one.set(0)
    assert not one.is_ahead and one.others == 0
    two.set(0)
    for mine, theirs, ahead in ((1, 0, True), (1, 1, False), (2, 1, True), (0, 5, False)):
        one.set(mine)
        two.set(theirs)
        assert (one.is_ahead, one.others) == (ahead, theirs)
    home.clear(1)
    assert not one.is_ahead and one.others == 0
    one.leave()
    assert two.others == 0
    for each in (one, two, home):
        each.close()
    os.close(memory)
