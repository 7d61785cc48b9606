"""The selector language: jq 1.8 without input, output and modules, with a budget on every run.

    chosen = compile('.messages | length > 3 and (.[0].content | test("code"))')
    list(chosen.outputs(body))                    -> [True]
    chosen.selects(body)                          -> True
    compile("$model == $wanted", ["model", "wanted"]).selects(body, {"model": "a", "wanted": "a"})  -> True
    compile(".a |")                               raises JqError, .position 4

What jq would answer otherwise than we can is refused: when compiling, where it can be known, else as a JqError of the run.
A JqError's message names what is wrong in the program and never quotes the value it ran on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from .access import index
from .arithmetic import ARITHMETIC, negate
from .codes import Bind, Code, Env, Function, Many, argument, call, comma, constant, identity, pipe, variable
from .control import array, attempt, bind_pattern, bound_name, break_to, choice, each_state, label, mapping, reduce, text
from .defined import DEFINED, REFUSED
from .formats import FORMATS
from .forms import FORMS
from .functions import FIRST, LAST, SHORTER
from .operators import alternative, arithmetic, comparison, logic
from .parser import Node, parse
from .plain import plain
from .prices import PRICES, writing
from .reaching import element, iterate, optional_element, optional_iterate, slice_key
from .regex import pattern_of
from .retries import (
    resumable_attempt,
    resumable_binary,
    resumable_bind,
    resumable_bind_name,
    resumable_foreach,
    resumable_pipe,
    resumable_reduce,
    whole,
)
from .updates import assign, modify, update_with
from .values import (
    JqBudget,
    JqError,
    JqFault,
    JqRaised,
    JqRefused,
    JqUnknownError,
    Value,
    kind,
    read,
    text_of,
    truthy,
)

__all__ = ["Filter", "JqBudget", "JqError", "JqFault", "JqRaised", "JqRefused", "JqUnknownError", "compile", "read"]

MAX_STEPS = 100_000  # of one run: iterations, calls and what grows; some 50 ms at worst


@dataclass(frozen=True, slots=True)
class Scope:
    """What a place in the program can name, and at which index of env it lies."""

    size: int
    variables: Mapping[str, int]
    functions: Mapping[str, Function | int]  # an int is one of the enclosing function's own arguments
    labels: Mapping[str, int]

    def with_variable(self, name: str) -> Scope:
        return replace(self, size=self.size + 1, variables={**self.variables, name: self.size})

    def with_label(self, name: str) -> Scope:
        return replace(self, size=self.size + 1, labels={**self.labels, name: self.size})

    def with_function(self, name: str, function: Function) -> Scope:
        return replace(self, functions={**self.functions, name: function})

    def with_parameter(self, name: str) -> Scope:
        return replace(self, size=self.size + 1, functions={**self.functions, f"{name}/0": self.size})


TOP = Scope(1, {}, {}, {})  # env[0] is the run's budget
SHORT: dict[str, tuple[list[str], str]] = {}  # "name/arity" of DEFINED -> parameters, body
for _heading, _body in DEFINED.items():
    SHORT[_heading.split()[0]] = (_heading.split()[1:], _body)
LIBRARY: dict[str, Function] = {}  # those of SHORT that some program has used
WRITING = frozenset({"tostring", "tojson", "format", "join", "INDEX"})  # functions that write numbers as text
FOLDED = frozenset({*ARITHMETIC, "==", "!=", "<", "<=", ">", ">="})
PATTERN_FUNCTIONS = frozenset({"test", "match", "capture", "scan", "split", "splits", "sub", "gsub"})


class Compiler:
    """Turns nodes into Codes; every method takes a node and the scope it stands in.

    `retries` where the program holds a `?//`: then errors are handed back to it, see retries.
    """

    def __init__(self, retries: bool = False) -> None:
        self.retries = retries
        self.spells = False  # whether it can tell how a number is written
        self.pipe = resumable_pipe if retries else pipe

    def code(self, node: Node, scope: Scope) -> Code:
        return MAKERS[node.kind](self, node, scope)

    def make_identity(self, node: Node, scope: Scope) -> Code:
        return identity()

    def make_literal(self, node: Node, scope: Scope) -> Code:
        return constant(node.parts[0])

    def make_group(self, node: Node, scope: Scope) -> Code:
        return self.code(node.parts[0], scope)

    def make_variable(self, node: Node, scope: Scope) -> Code:
        name = node.parts[0]
        if name in scope.variables:
            return variable(scope.variables[name])
        if name == "ENV":
            raise JqRefused("$ENV reaches outside the program", node.at)
        raise JqError(f"${name} is not defined", node.at)

    def make_index(self, node: Node, scope: Scope) -> Code:
        return element(self.code(node.parts[0], scope), self.code(node.parts[1], scope))

    def make_slice(self, node: Node, scope: Scope) -> Code:
        return element(self.code(node.parts[0], scope), self.bounds(node, scope))

    def bounds(self, node: Node, scope: Scope) -> Code:
        _, start, end = node.parts
        low = self.code(start, scope) if start else constant(None)
        high = self.code(end, scope) if end else constant(None)
        return slice_key(low, high)

    def make_iterate(self, node: Node, scope: Scope) -> Code:
        return self.pipe(self.code(node.parts[0], scope), iterate())

    def make_optional(self, node: Node, scope: Scope) -> Code:
        """A step into a value with a question mark: no output where that step fails."""
        inner = node.parts[0]
        term = self.code(inner.parts[0], scope)
        if inner.kind == "iterate":
            return self.pipe(term, optional_iterate())
        if inner.kind == "index":
            return optional_element(term, self.code(inner.parts[1], scope))
        return optional_element(term, self.bounds(inner, scope))

    def make_pipe(self, node: Node, scope: Scope) -> Code:
        return self.pipe(self.code(node.parts[0], scope), self.code(node.parts[1], scope))

    def make_binary(self, node: Node, scope: Scope) -> Code:
        sign, left, right = node.parts
        return (resumable_operation if self.retries else operation)(sign, self.code(left, scope), self.code(right, scope))

    def make_negate(self, node: Node, scope: Scope) -> Code:
        return self.pipe(self.code(node.parts[0], scope), plain(negate, [], True))

    def make_assign(self, node: Node, scope: Scope) -> Code:
        sign = node.parts[0]
        target, source = self.code(node.parts[1], scope), self.code(node.parts[2], scope)
        if not target.tracked:
            raise JqRefused(f"no path to assign to with {sign}", node.at)
        if sign == "=":
            return assign(target, source)
        if sign == "|=":
            return modify(target, source)
        if sign == "//=":
            return update_with(target, source, lambda old, new: old if truthy(old) else new)
        return update_with(target, source, ARITHMETIC[sign[0]])

    def make_try(self, node: Node, scope: Scope) -> Code:
        body, handler = self.code(node.parts[0], scope), node.parts[1]
        then = self.code(handler, scope) if handler else None
        self.spells = self.spells or handler is not None  # a message may quote a number
        return resumable_attempt(body, then) if self.retries else attempt(body, then)

    def make_if(self, node: Node, scope: Scope) -> Code:
        branches, otherwise = node.parts
        result = self.code(otherwise, scope)
        for condition, then in reversed(branches):
            result = choice(self.code(condition, scope), self.code(then, scope), result)
        return result

    def make_array(self, node: Node, scope: Scope) -> Code:
        return array(self.code(node.parts[0], scope) if node.parts[0] else None)

    def make_object(self, node: Node, scope: Scope) -> Code:
        entries = [(self.key(key, scope), self.code(value, scope) if value else None) for key, value in node.parts[0]]
        return mapping(entries)

    def key(self, node: Node, scope: Scope) -> Code:
        """An object's key; one that jq knows when compiling must be a string."""
        code = self.code(node, scope)
        if is_folded(node):
            value = next(iter(code.many(None, ([MAX_STEPS, 0, 0],))))
            if type(value) is not str:
                raise JqError(f"Cannot use {kind(value)} as object key", node.at)
        return code

    def make_string(self, node: Node, scope: Scope) -> Code:
        self.spells = True
        form, parts = node.parts
        codes = [part if isinstance(part, str) else self.code(part, scope) for part in parts]
        return text(codes, FORMATS[form] if form else text_of)

    def make_format(self, node: Node, scope: Scope) -> Code:
        self.spells = True
        return plain(FORMATS[node.parts[0]], [], True, writing)

    def make_label(self, node: Node, scope: Scope) -> Code:
        name, body = node.parts
        return label(self.code(body, scope.with_label(name)))

    def make_break(self, node: Node, scope: Scope) -> Code:
        name = node.parts[0]
        if name not in scope.labels:
            raise JqError(f"there is no label ${name} around this break", node.at)
        return break_to(scope.labels[name])

    # ------------------------------------------------------------------------------------------------- bindings

    def make_as(self, node: Node, scope: Scope) -> Code:
        source, patterns, body = node.parts
        first = self.code(source, scope)
        if len(patterns) == 1 and patterns[0].kind == "name_pattern":
            bind_name = resumable_bind_name if self.retries else bound_name
            return bind_name(first, self.code(body, scope.with_variable(patterns[0].parts[0])))
        binds, inner = self.patterns(patterns, scope)
        then = self.code(body, inner)
        return resumable_bind(first, binds, then) if self.retries else bind_pattern(first, binds[0], then)

    def patterns(self, patterns: tuple[Node, ...], scope: Scope) -> tuple[list[Bind], Scope]:
        """One Bind per alternative, and the scope behind them: every variable of any alternative, null where it has none."""
        for node in patterns:
            if len(names_of(node)) != len(set(names_of(node))):
                raise JqRefused("a variable twice in one pattern", node.at)
        made = [self.pattern(node, scope) for node in patterns]
        if len(made) == 1:
            return [made[0][0]], made[0][1]
        names = sorted({name for node in patterns for name in names_of(node)})
        inner = scope
        for name in names:
            inner = inner.with_variable(name)
        binds: list[Bind] = []
        for node, (bind, own) in zip(patterns, made, strict=True):
            mine = names_of(node)
            slots = [own.variables[name] if name in mine else None for name in names]
            binds.append(arrange_bind(bind, scope.size, slots))
        return binds, inner

    def pattern(self, node: Node, scope: Scope) -> tuple[Bind, Scope]:
        if node.kind == "name_pattern":
            return (lambda value, env: ((*env, value),)), scope.with_variable(node.parts[0])
        if node.kind == "array_pattern":
            return self.array_pattern(node, scope)
        return self.object_pattern(node, scope)

    def array_pattern(self, node: Node, scope: Scope) -> tuple[Bind, Scope]:
        binds: list[Bind] = []
        for at, item in reversed([*enumerate(node.parts[0])]):  # jq begins with the last
            bind, scope = self.pattern(item, scope)
            binds.append(inside(constant_key(at), bind))
        return chain_binds(binds), scope

    def object_pattern(self, node: Node, scope: Scope) -> tuple[Bind, Scope]:
        outer = scope
        binds: list[Bind] = []
        for name, key, inner in node.parts[0]:
            code = self.key(key, outer)
            which = restrict_bind(code.many, outer.size)
            if name is not None:
                binds.append(inside(which, lambda value, env: ((*env, value),)))
                scope = scope.with_variable(name)
            if inner is not None:
                bind, scope = self.pattern(inner, scope)
                binds.append(inside(which, bind))
        return chain_binds(binds), scope

    def make_reduce(self, node: Node, scope: Scope) -> Code:
        source, patterns, start, update = node.parts[:4]
        binds, inner = self.patterns(patterns, scope)
        parts = self.code(source, scope), self.code(start, scope), self.code(update, inner)
        return resumable_reduce(parts[0], binds, *parts[1:]) if self.retries else reduce(parts[0], binds[0], *parts[1:])

    def make_foreach(self, node: Node, scope: Scope) -> Code:
        source, patterns, start, update = node.parts[:4]
        binds, inner = self.patterns(patterns, scope)
        parts = self.code(source, scope), self.code(start, scope), self.code(update, inner)
        extract = self.code(node.parts[4], inner) if len(node.parts) > 4 else None
        if self.retries:
            return resumable_foreach(parts[0], binds, *parts[1:], extract)
        return each_state(parts[0], binds[0], *parts[1:], extract)

    # ------------------------------------------------------------------------------------------------ functions

    def make_def(self, node: Node, scope: Scope) -> Code:
        name, parameters, body, rest = node.parts
        function = Function(scope.size)
        after = scope.with_function(f"{name}/{len(parameters)}", function)
        function.body = self.body(parameters, body, after)
        return self.code(rest, after)

    def body(self, parameters: Sequence[tuple[str, bool]], body: Node, scope: Scope) -> Code:
        """A function's body; `$x` among the parameters is `x as $x` around it."""
        slots = []
        for name, _ in parameters:
            slots.append(scope.size)
            scope = scope.with_parameter(name)
        values = [(name, slot) for (name, is_value), slot in zip(parameters, slots, strict=True) if is_value]
        for name, _ in values:
            scope = scope.with_variable(name)
        code = self.code(body, scope)
        for _, slot in reversed(values):
            code = bound_name(argument(slot), code)
        return code

    def make_call(self, node: Node, scope: Scope) -> Code:
        name, given = node.parts
        key = f"{name}/{len(given)}"
        self.spells = self.spells or name in WRITING
        target = scope.functions.get(key)
        if isinstance(target, int):
            return argument(target)
        arguments = [self.code(each, scope) for each in given]
        if target is not None:
            return call(target, arguments)
        if name in PATTERN_FUNCTIONS and given:
            check_pattern(name, arguments, node)
        return self.builtin(key, arguments, node)

    def builtin(self, key: str, arguments: list[Code], node: Node) -> Code:
        if key in FORMS:
            try:
                return FORMS[key](arguments)
            except JqRefused as error:
                raise JqRefused(error.message, node.at) from None
        if key in LAST:
            return plain(LAST[key], arguments, True, PRICES.get(key))
        if key in FIRST:
            return plain(FIRST[key], arguments, False, PRICES.get(key))
        if key in SHORTER:
            way = call(self.library(key), arguments)
            short = plain(SHORTER[key], arguments, False)
            return Code(short.one, short.many, way.paths, (way,))
        if key in SHORT:
            return call(self.library(key), arguments)
        if key in REFUSED:
            raise JqRefused(f"{key} {REFUSED[key]}", node.at)
        raise JqError(f"{key} is not defined", node.at)

    def library(self, key: str) -> Function:
        """A function of DEFINED, compiled when a program first uses it."""
        if key not in LIBRARY:
            parameters, body = SHORT[key]
            function = Function(TOP.size)
            scope = TOP.with_function(key, function)
            function.body = Compiler().body([(each.lstrip("$"), each[0] == "$") for each in parameters], parse(body), scope)
            LIBRARY[key] = function
        return LIBRARY[key]


def is_folded(node: Node) -> bool:
    """Whether jq makes this a constant when compiling: literals, what is computed from them, arrays and objects of them."""
    if node.kind == "literal":
        return len(node.parts) == 1  # a negative number is not
    if node.kind == "call":
        return node.parts[0] in ("null", "true", "false") and not node.parts[1]
    if node.kind in ("group", "array"):
        return node.parts[0] is None or is_folded(node.parts[0]) or (node.kind == "array" and is_list(node.parts[0]))
    if node.kind == "object":
        return all(is_folded(key) and value is not None and is_folded(value) for key, value in node.parts[0])
    return node.kind == "binary" and node.parts[0] in FOLDED and is_folded(node.parts[1]) and is_folded(node.parts[2])


def is_list(node: Node) -> bool:
    """Constants with commas between them."""
    if node.kind == "binary" and node.parts[0] == ",":
        return is_list(node.parts[1]) and is_list(node.parts[2])
    return is_folded(node)


def operation(sign: str, left: Code, right: Code) -> Code:
    if sign == ",":
        return comma(left, right)
    if sign == "//":
        return alternative(left, right)
    if sign in ("and", "or"):
        return logic(left, right, sign == "or")
    if sign in ARITHMETIC:
        return arithmetic(sign, left, right)
    return comparison(sign, left, right)


def resumable_operation(sign: str, left: Code, right: Code) -> Code:
    """The same in a program with `?//`."""
    if sign in ARITHMETIC:
        return resumable_binary(ARITHMETIC[sign], left, right)
    return operation(sign, left, right)


def check_pattern(name: str, arguments: list[Code], node: Node) -> None:
    """Refuses a regular expression that is written in the program before it is ever used."""
    if name == "split" and len(arguments) == 1:
        return
    source = arguments[0].constant
    at = 2 if name in ("sub", "gsub") else 1
    modes = arguments[at].constant if len(arguments) > at else [None]
    if source is None or type(source[0]) is not str or modes is None or type(modes[0]) not in (str, type(None)):
        return
    try:
        pattern_of(source[0], modes[0] or "")
    except JqRaised:
        pass  # jq complains when it runs
    except JqRefused as error:
        raise JqRefused(error.message, node.at) from None


def names_of(node: Node) -> list[str]:
    """The variables a pattern binds."""
    if node.kind == "name_pattern":
        return [node.parts[0]]
    if node.kind == "array_pattern":
        return [name for item in node.parts[0] for name in names_of(item)]
    found: list[str] = []
    for name, _, inner in node.parts[0]:
        found += ([name] if name is not None else []) + (names_of(inner) if inner is not None else [])
    return found


def constant_key(at: int) -> Many:
    return lambda value, env: (at,)


def restrict_bind(many: Many, size: int) -> Many:
    """A key is looked up with what was bound before the pattern, not within it."""
    return lambda value, env: many(value, env[:size])


def inside(key: Many, bind: Bind) -> Bind:
    """Binds what lies at a key of the value."""

    def run(value: Value, env: Env) -> Iterator[Env]:
        for by in key(value, env):
            yield from bind(index(value, by), env)

    return run


def chain_binds(binds: list[Bind]) -> Bind:
    """One bind after the other on the same value."""

    def run(value: Value, env: Env, at: int = 0) -> Iterator[Env]:
        if at == len(binds):
            yield env
            return
        for inner in binds[at](value, env):
            yield from run(value, inner, at + 1)

    return run


def arrange_bind(bind: Bind, size: int, slots: list[int | None]) -> Bind:
    """What a pattern bound, put where the body of all alternatives looks for it."""

    def run(value: Value, env: Env) -> Iterator[Env]:
        for inner in bind(value, env):
            yield (*env[:size], *[None if slot is None else inner[slot] for slot in slots])

    return run


MAKERS: dict[str, Callable[[Compiler, Node, Scope], Code]] = {
    name.removeprefix("make_"): getattr(Compiler, name) for name in vars(Compiler) if name.startswith("make_")
}


def outward(error: Exception) -> JqError:
    """What a program may end in: the module's own error as it is, any other exception as one, without its text.

    Every way into this module ends here, so that no mistake of ours in an operator or a function is a caller's failed request.
    """
    if isinstance(error, JqError):
        return error
    if isinstance(error, (RecursionError, MemoryError)):
        return JqBudget("nested too deeply" if isinstance(error, RecursionError) else "a value grew too large")
    return JqFault(f"{type(error).__name__} inside the selector language")


class Filter:
    """A compiled program; safe to use from many places at once.

    `spells` where it can tell 1.10 from 1.1, because it writes numbers as text: then give it values that `read` has read.
    """

    __slots__ = ("code", "names", "spells", "text")

    def __init__(self, text: str, names: tuple[str, ...], code: Code, spells: bool) -> None:
        self.text = text
        self.names = names
        self.code = code
        self.spells = spells

    def env(self, variables: Mapping[str, Value] | None, max_steps: int) -> Env:
        if not self.names:
            return ([max_steps, 0, 0],)
        given = variables or {}
        try:
            return ([max_steps, 0, 0], *[given[name] for name in self.names])
        except KeyError as error:
            raise JqError(f"${error.args[0]} has no value") from None

    def outputs(
        self, value: Value, variables: Mapping[str, Value] | None = None, max_steps: int = MAX_STEPS
    ) -> Iterator[Value]:
        """The program's outputs, one by one; JqError where it fails or its budget is used up, and nothing else.

        compile(".[]").outputs([1, 2])   -> 1, then 2
        compile("error").outputs("x")    raises JqRaised, .value "x"
        """
        try:
            yield from self.code.many(value, self.env(variables, max_steps))
        except Exception as error:
            raise outward(error) from None

    def selects(self, value: Value, variables: Mapping[str, Value] | None = None, max_steps: int = MAX_STEPS) -> bool:
        """Whether the first output is true itself; JqError as `outputs`.

        compile(".stream").selects({"stream": True})   -> True
        compile(".stream").selects({"stream": 1})      -> False
        """
        try:
            env = self.env(variables, max_steps)
            if self.code.one is not None:
                return self.code.one(value, env) is True
            for each in self.code.many(value, env):
                return each is True
            return False
        except Exception as error:
            raise outward(error) from None

    def name_of(self, value: Value, variables: Mapping[str, Value] | None = None) -> str:
        """The first output as text; "" if there is none, or it is null, false or empty. JqError as `outputs`.

        compile(".user").name_of({"user": "ann"})  -> "ann"
        compile(".seed").name_of({"seed": 7})      -> "7"
        """
        first = next(self.outputs(value, variables), None)
        try:
            return "" if first is None or first is False else text_of(first)
        except Exception as error:
            raise outward(error) from None


def compile(text: str, variables: Iterable[str] = ()) -> Filter:
    """A program, ready to run; JqError if it is not one. `variables`: the names, without $, that each run gives values to.

    compile(".a + $b", ["b"])   -> Filter, for .outputs({"a": 1}, {"b": 2}) -> 3
    compile(".a +")             raises JqError, .position 4
    compile("input")            raises JqRefused: it reaches outside the program
    """
    names = tuple(variables)
    scope = TOP
    for name in names:
        scope = scope.with_variable(name)
    retries = "?//" in text
    compiler = Compiler(retries)
    try:
        code = compiler.code(parse(text), scope)
    except RecursionError:
        raise JqError("nested too deeply", 0) from None
    except Exception as error:
        raise outward(error) from None
    return Filter(text, names, whole(code) if retries else code, compiler.spells)
