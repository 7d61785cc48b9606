"""Functions on values as Codes: their arguments are programs, whose outputs they are called with.

    plain(work, [argument], True)   work(value, output of argument) for every output

jq's functions in C run their last argument first and make it the outer loop, those written in jq the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .codes import Code, Env, Many, One, charge_value, fresh, spend
from .values import Value


def plain_many(work: Callable[..., Value], arguments: list[Code], last_outer: bool, price: Callable[..., int]) -> Many:
    ordered = arguments[::-1] if last_outer else arguments

    def many(value: Value, env: Env, *given: Value) -> Iterator[Value]:
        if len(given) == len(ordered):
            inputs = given[::-1] if last_outer else given
            spend(env, price(value, *inputs))
            yield charge_value(work(value, *inputs), env)
            return
        for each in ordered[len(given)].many(value, env):
            yield from many(value, env, *given, each)

    return many


def no_price(*_: Value) -> int:
    return 0


def plain(work: Callable[..., Value], arguments: list[Code], last_outer: bool, price: Callable[..., int] | None = None) -> Code:
    """A function on values, its arguments being programs. jq's functions in C make fresh values; those in jq need not."""
    make = fresh if last_outer else Code
    ones: list[Any] = [code.one for code in arguments]
    if None in ones:
        return make(None, plain_many(work, arguments, last_outer, price or no_price))
    if price is not None:
        return make(call_with_charge(work, ones, price, last_outer))
    if not ones:
        return make(lambda value, env: charge_value(work(value), env))
    if len(ones) == 1:
        only, fixed = ones[0], arguments[0].constant
        if fixed is not None:
            given = fixed[0]
            return make(lambda value, env: charge_value(work(value, given), env))
        return make(lambda value, env: charge_value(work(value, only(value, env)), env))

    run = arguments_backwards if last_outer else arguments_forwards
    return make(lambda value, env: charge_value(work(value, *run(ones, value, env)), env))


def arguments_forwards(arguments: list[Any], value: Value, env: Env) -> list[Value]:
    return [code(value, env) for code in arguments]


def arguments_backwards(arguments: list[Any], value: Value, env: Env) -> list[Value]:
    """jq runs the last argument of its functions in C first: an error in that is the one that is seen."""
    return [code(value, env) for code in reversed(arguments)][::-1]


def call_with_charge(work: Callable[..., Value], arguments: list[Any], price: Callable[..., int], last_outer: bool) -> One:
    """A function that costs steps before it begins."""
    run = arguments_backwards if last_outer else arguments_forwards

    def one(value: Value, env: Env) -> Value:
        given = run(arguments, value, env)
        spend(env, price(value, *given))
        return charge_value(work(value, *given), env)

    return one
