"""The grammar of the jq language: text in, a tree of Nodes out; JqError with its position where the text is not a program.

    parse(".a | length > 1") -> Node("pipe", 3, (Node("index", 0, ...), Node("binary", 12, (">", ...))))

Read token by token with one token of lookahead, so that a string's interpolations are read by the same parser. Modules and
what jq itself would warn about are errors here: a selector is one expression.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NoReturn

from .values import JqError, JqRefused, Value, literal, number_text

MAX_PROGRAM = 65_536  # characters; a selector has a hundred
MAX_DEPTH = 60  # brackets and bindings inside one another: each costs the reader some eight frames of Python's stack

TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n\r]*)
    |(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    |(?P<field>\.[A-Za-z_][A-Za-z0-9_]*)
    |(?P<binding>\$[A-Za-z_][A-Za-z0-9_]*)
    |(?P<word>(?:[A-Za-z_][A-Za-z0-9_]*::)*[A-Za-z_][A-Za-z0-9_]*)
    |(?P<format>@[A-Za-z0-9_]+)
    |(?P<sign>\?//|//=|\.\.|\|=|\+=|-=|\*=|/=|%=|==|!=|<=|>=|//|[-.\[\](){}:;,|?=+*/%"<>])""",
    re.VERBOSE | re.ASCII,
)
KEYWORDS = frozenset((
    "as", "import", "include", "module", "def", "if", "then", "else", "elif", "end", "reduce", "foreach", "try", "catch",
    "label", "break", "and", "or", "__loc__",
))  # fmt: skip
ASSIGN = frozenset({"=", "|=", "+=", "-=", "*=", "/=", "%=", "//="})
# Binary operators: binding power, and how they group. "none" is a syntax error when chained.
POWER: dict[str, tuple[int, str]] = {
    "//": (2, "right"),
    **dict.fromkeys(ASSIGN, (3, "none")),
    "or": (4, "left"),
    "and": (5, "left"),
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), (6, "none")),
    "+": (7, "left"),
    "-": (7, "left"),
    "*": (8, "left"),
    "/": (8, "left"),
    "%": (8, "left"),
}
FORMATS = frozenset({"text", "json", "csv", "tsv", "html", "uri", "urid", "sh", "base64", "base64d"})
ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
PLAIN = re.compile(r'[^"\\]+')


@dataclass(frozen=True, slots=True)
class Node:
    """One construct: its name, where it begins, its parts (Nodes, strings, tuples)."""

    kind: str
    at: int
    parts: tuple[Any, ...] = ()


IDENTITY = Node("identity", 0)


class Parser:
    """Reads one program; `kind` and `text` are the current token, which begins at `at`."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.kind = self.text = ""
        self.at = self.end = 0
        self.depth = 0
        self.advance()

    # -------------------------------------------------------------------------------------------------- tokens

    def advance(self) -> None:
        at = self.end
        while True:
            if at >= len(self.source):
                self.kind, self.text, self.at, self.end = "end", "", at, at
                return
            match = TOKEN.match(self.source, at)
            if match is None:
                raise JqError(f"unexpected character {self.source[at]!r}", at)
            if match.lastgroup != "space":
                break
            if match.group().startswith("#") and match.group().endswith("\\"):
                raise JqRefused("a comment that ends in a backslash", at)  # jq 1.7.1 goes on in the next line, 1.7.0 not
            at = match.end()
        self.kind, self.text, self.at, self.end = str(match.lastgroup), match.group(), at, match.end()

    def fail_here(self) -> NoReturn:
        raise JqError(f"unexpected {self.text!r}" if self.kind != "end" else "the program ends too early", self.at)

    def is_sign(self, text: str) -> bool:
        return self.kind == "sign" and self.text == text

    def is_word(self, text: str) -> bool:
        return self.kind == "word" and self.text == text

    def accept(self, text: str) -> bool:
        """Takes this sign or keyword if it is next."""
        if self.text == text and (self.kind == "sign" or self.kind == "word"):
            self.advance()
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise JqError(f"{text!r} is expected here" + (f", not {self.text!r}" if self.text else ""), self.at)

    def take_binding(self) -> str:
        if self.kind != "binding":
            raise JqError("a variable is expected here", self.at)
        name = self.text[1:]
        self.advance()
        return name

    # ------------------------------------------------------------------------------------------------- programs

    def program(self) -> Node:
        if self.kind == "end":
            raise JqError("there is no program", 0)
        tree = self.pipe()
        if self.kind != "end":
            self.fail_here()
        return tree

    def pipe(self, plain: bool = False) -> Node:
        """A pipe; `plain` inside an object, where comma, `as` and `def` need parentheses."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise JqError("nested too deeply", self.at)
        tree = self.links(plain)
        self.depth -= 1
        return tree

    def links(self, plain: bool) -> Node:
        links: list[Node] = []
        marks: list[int] = []
        while True:
            links.append(self.binary(2) if plain else self.commas())
            if not self.is_sign("|"):
                break
            marks.append(self.at)
            self.advance()
        tree = links.pop()
        while links:
            tree = Node("pipe", marks.pop(), (links.pop(), tree))
        return tree

    def commas(self) -> Node:
        """Expressions between commas, which group to the left; a definition, label or binding takes all that is left."""
        tree, ends = self.segment()
        while not ends and self.is_sign(","):
            at = self.at
            self.advance()
            right, ends = self.segment()
            tree = Node("binary", at, (",", tree, right))
        return tree

    def segment(self) -> tuple[Node, bool]:
        """One expression, and whether it took the whole rest of the pipe."""
        at = self.at
        if self.is_word("def"):
            return self.definition(), True
        if self.accept("label"):
            name = self.take_binding()
            self.expect("|")
            return Node("label", at, (name, self.pipe())), True
        tree = self.binary(2)
        if not self.is_word("as"):
            return tree, False
        self.advance()
        patterns = self.patterns()
        self.expect("|")
        return Node("as", at, (tree, patterns, self.pipe())), True

    def definition(self) -> Node:
        at = self.at
        self.advance()
        name = self.text
        if self.kind != "word" or name in KEYWORDS or "::" in name:
            self.fail_here()
        self.advance()
        params: list[tuple[str, bool]] = []
        if self.accept("("):
            params.append(self.parameter())
            while self.accept(";"):
                params.append(self.parameter())
            self.expect(")")
        self.expect(":")
        body = self.pipe()
        self.expect(";")
        return Node("def", at, (name, tuple(params), body, self.pipe()))

    def parameter(self) -> tuple[str, bool]:
        """Its name, and whether it is a value ($x) as well."""
        if self.kind == "binding":
            return self.take_binding(), True
        name = self.text
        if self.kind != "word" or name in KEYWORDS or "::" in name:
            self.fail_here()
        self.advance()
        return name, False

    def binary(self, lowest: int) -> Node:
        left = self.operand()
        chained = 99
        while self.kind in ("sign", "word") and self.text in POWER:
            sign, at = self.text, self.at
            power, groups = POWER[sign]
            if power < lowest:
                break
            if power == chained:
                self.fail_here()
            self.advance()
            right = self.binary(power if groups == "right" else power + 1)
            left = Node("assign" if sign in ASSIGN else "binary", at, (sign, left, right))
            chained = power if groups == "none" else 99
        return left

    def operand(self) -> Node:
        at = self.at
        if self.is_sign("-"):
            self.advance()
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise JqError("nested too deeply", at)
            inner = self.operand()
            self.depth -= 1
            return negative(inner, at)
        if self.is_word("try"):
            self.advance()
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise JqError("nested too deeply", at)
            body = self.operand()
            handler = self.operand() if self.accept("catch") else None
            self.depth -= 1
            return Node("try", at, (body, handler))
        return self.term()

    # ---------------------------------------------------------------------------------------------------- terms

    def term(self) -> Node:
        tree = self.primary()
        reaching = tree.kind == "index"  # a question mark right behind a step into a value is about that step alone
        while True:
            at = self.at
            if self.accept("?"):
                tree = Node("optional" if reaching else "try", at, (tree, None))
                reaching = False
                continue
            if self.kind == "field":
                tree = Node("index", at, (tree, Node("literal", at, (self.text[1:],))))
                self.advance()
            elif self.is_sign("."):
                self.advance()
                tree = self.after_dot(tree, at)
            elif self.is_sign("["):
                tree = self.bracket(tree, slices=True)
            else:
                return tree
            reaching = True

    def after_dot(self, tree: Node, at: int) -> Node:
        """What follows a dot that is not a field: `."name"` or `.[...]`."""
        if self.kind == "format" or self.is_sign('"'):
            return Node("index", at, (tree, self.string()))
        if not self.is_sign("["):
            self.fail_here()
        return self.bracket(tree, slices=False)

    def bracket(self, tree: Node, slices: bool) -> Node:
        at = self.at
        self.advance()
        if self.accept("]"):
            return Node("iterate", at, (tree,))
        start = None if slices and self.is_sign(":") else self.pipe()
        if not slices or not self.accept(":"):
            self.expect("]")
            return Node("index", at, (tree, start))
        end = None if start is not None and self.is_sign("]") else self.pipe()
        self.expect("]")
        return Node("slice", at, (tree, start, end))

    def primary(self) -> Node:
        at, text = self.at, self.text
        reader = PRIMARY.get(text if self.kind == "sign" or text in KEYWORDS else "a " + self.kind)
        if reader is not None:
            return reader(self, at)
        if self.kind != "word" or text in KEYWORDS:
            self.fail_here()
        self.advance()
        arguments: list[Node] = []
        if self.accept("("):
            arguments.append(self.pipe())
            while self.accept(";"):
                arguments.append(self.pipe())
            self.expect(")")
        return Node("call", at, (text, tuple(arguments)))

    def read_number(self, at: int) -> Node:
        text = self.text
        self.advance()
        try:
            return Node("literal", at, (literal(text),))
        except ValueError:
            raise JqRefused("a number too large to keep exactly", at) from None

    def read_field(self, at: int) -> Node:
        name = self.text[1:]
        self.advance()
        return Node("index", at, (IDENTITY, Node("literal", at, (name,))))

    def read_dot(self, at: int) -> Node:
        self.advance()
        if self.kind == "format" or self.is_sign('"'):
            return Node("index", at, (IDENTITY, self.string()))
        return IDENTITY

    def read_recurse(self, at: int) -> Node:
        self.advance()
        return Node("call", at, ("recurse", ()))

    def read_binding(self, at: int) -> Node:
        name = self.take_binding()
        if name == "__loc__":
            return Node("literal", at, (self.location(at),))
        return Node("variable", at, (name,))

    def location(self, at: int) -> Value:
        return {"file": "<top-level>", "line": self.source.count("\n", 0, at) + 1}

    def read_format(self, at: int) -> Node:
        name = self.format_name()
        return self.string_parts(at, name) if self.is_sign('"') else Node("format", at, (name,))

    def format_name(self) -> str:
        name = self.text[1:]
        if name not in FORMATS:
            raise JqRefused(f"@{name} is not a format: there are {', '.join('@' + each for each in sorted(FORMATS))}", self.at)
        self.advance()
        return name

    def string(self) -> Node:
        at = self.at
        name = self.format_name() if self.kind == "format" else None
        if not self.is_sign('"'):
            self.fail_here()
        return self.string_parts(at, name)

    def read_string(self, at: int) -> Node:
        return self.string_parts(at, None)

    def string_parts(self, at: int, form: str | None) -> Node:
        """A string literal whose opening quote is the current token: text and interpolated programs in turn."""
        parts: list[str | Node] = []
        place = self.end
        while True:
            plain = PLAIN.match(self.source, place)
            if plain is not None:
                parts.append(plain.group())
                place = plain.end()
            mark = self.source[place : place + 1]
            if mark == '"':
                break
            if mark == "" or place + 1 >= len(self.source):
                raise JqError("a string without its end", at)
            if self.source[place + 1] == "(":
                self.end = place + 2
                self.advance()
                parts.append(self.pipe())
                if not self.is_sign(")"):
                    self.fail_here()
                place = self.end
            else:
                text, place = self.escape(place)
                parts.append(text)
        self.end = place + 1
        self.advance()
        if any(isinstance(part, Node) for part in parts):
            return Node("string", at, (form, tuple(parts)))
        return Node("literal", at, (join_surrogates([str(part) for part in parts], at),))

    def escape(self, place: int) -> tuple[str, int]:
        letter = self.source[place + 1]
        if letter in ESCAPES:
            return ESCAPES[letter], place + 2
        digits = self.source[place + 2 : place + 6]
        if letter == "u" and re.fullmatch("[0-9a-fA-F]{4}", digits):
            return chr(int(digits, 16)), place + 6
        raise JqError("an escape that JSON does not have", place)

    def read_group(self, at: int) -> Node:
        self.advance()
        inner = self.pipe()
        self.expect(")")
        # A bracketed number is still a number to negate; anything else must not melt into what stands around it.
        return Node("group", at, (inner,))

    def read_array(self, at: int) -> Node:
        self.advance()
        if self.accept("]"):
            return Node("array", at, (None,))
        inner = self.pipe()
        self.expect("]")
        return Node("array", at, (inner,))

    def read_object(self, at: int) -> Node:
        self.advance()
        entries: list[tuple[Node, Node | None]] = []
        while not self.is_sign("}"):
            entries.append(self.entry())
            if not self.accept(","):
                break
        self.expect("}")
        return Node("object", at, (tuple(entries),))

    def entry(self) -> tuple[Node, Node | None]:
        """One `key: value` of an object, or a key that is its own value: None where that is known only when it runs."""
        at = self.at
        if self.kind == "binding":
            name = self.text[1:]
            variable = self.read_binding(at)
            if self.is_sign(":") and name != "__loc__":
                return variable, self.entry_value()
            return Node("literal", at, (name,)), variable
        if self.is_sign("("):
            key = self.read_group(at)
            return key, self.entry_value()
        if self.kind == "format" or self.is_sign('"'):
            key = self.string()
        elif self.kind == "word" and "::" not in self.text:
            key = Node("literal", at, (self.text,))
            self.advance()
        else:
            self.fail_here()
        if self.is_sign(":"):
            return key, self.entry_value()
        return key, Node("index", at, (IDENTITY, key)) if key.kind == "literal" else None

    def entry_value(self) -> Node:
        self.expect(":")
        return self.pipe(plain=True)

    def read_if(self, at: int) -> Node:
        self.advance()
        branches: list[tuple[Node, Node]] = []
        while True:
            condition = self.pipe()
            self.expect("then")
            branches.append((condition, self.pipe()))
            if not self.accept("elif"):
                break
        otherwise = self.pipe() if self.accept("else") else IDENTITY
        self.expect("end")
        return Node("if", at, (tuple(branches), otherwise))

    def read_reduce(self, at: int) -> Node:
        word = self.text
        self.advance()
        source = self.binary(2)
        self.expect("as")
        patterns = self.patterns()
        self.expect("(")
        steps = [self.pipe()]
        while self.accept(";") and len(steps) < 3:
            steps.append(self.pipe())
        self.expect(")")
        if len(steps) < 2 or (word == "reduce" and len(steps) > 2):
            raise JqError(f"{word} takes {'two' if word == 'reduce' else 'two or three'} parts in its brackets", at)
        return Node(word, at, (source, patterns, *steps))

    def read_break(self, at: int) -> Node:
        self.advance()
        return Node("break", at, (self.take_binding(),))

    # ------------------------------------------------------------------------------------------------- patterns

    def patterns(self) -> tuple[Node, ...]:
        found = [self.pattern()]
        while self.accept("?//"):
            found.append(self.pattern())
        return tuple(found)

    def pattern(self) -> Node:
        at = self.at
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise JqError("nested too deeply", at)
        if self.accept("["):
            items = [self.pattern()]
            while self.accept(","):
                items.append(self.pattern())
            self.expect("]")
            tree = Node("array_pattern", at, (tuple(items),))
        elif self.accept("{"):
            pairs = [self.pattern_entry()]
            while self.accept(","):
                pairs.append(self.pattern_entry())
            self.expect("}")
            tree = Node("object_pattern", at, (tuple(pairs),))
        else:
            tree = Node("name_pattern", at, (self.take_binding(),))
        self.depth -= 1
        return tree

    def pattern_entry(self) -> tuple[str | None, Node, Node | None]:
        """(the variable bound to the value itself, the key, the pattern of the value)"""
        at = self.at
        if self.kind == "binding":
            name = self.take_binding()
            return name, Node("literal", at, (name,)), self.pattern() if self.accept(":") else None
        if self.is_sign("("):
            key = self.read_group(at)
        elif self.kind == "format" or self.is_sign('"'):
            key = self.string()
        elif self.kind == "word" and "::" not in self.text:
            key = Node("literal", at, (self.text,))
            self.advance()
        else:
            self.fail_here()
        self.expect(":")
        return None, key, self.pattern()


PRIMARY = {
    "a number": Parser.read_number,
    "a field": Parser.read_field,
    "a binding": Parser.read_binding,
    "a format": Parser.read_format,
    ".": Parser.read_dot,
    "..": Parser.read_recurse,
    '"': Parser.read_string,
    "(": Parser.read_group,
    "[": Parser.read_array,
    "{": Parser.read_object,
    "if": Parser.read_if,
    "reduce": Parser.read_reduce,
    "foreach": Parser.read_reduce,
    "break": Parser.read_break,
}


def join_surrogates(parts: list[str], at: int) -> str:
    """Escaped halves of a surrogate pair made one character; half a pair alone is refused, as jq does or should."""
    text = "".join(parts)
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if "\ufffd" in text:
            raise JqRefused("half a surrogate pair", at)
    return text


def negative(inner: Node, at: int) -> Node:
    """-x; a number written in the program keeps its digits: -1.0 is written -1.0."""
    if inner.kind == "literal" and type(inner.parts[0]) is not str and inner.parts[0] is not None:
        text = number_text(inner.parts[0])
        value = literal(text if not inner.parts[0] else text[1:] if text.startswith("-") else "-" + text)
        return Node("literal", at, (value, "negative"))
    return Node("negate", at, (inner,))


def parse(source: str) -> Node:
    """The program's tree, or JqError."""
    if len(source) > MAX_PROGRAM:
        raise JqError(f"longer than {MAX_PROGRAM} characters", MAX_PROGRAM)
    parser = Parser(source)
    try:
        return parser.program()
    except RecursionError:
        raise JqError("nested too deeply", parser.at) from None
