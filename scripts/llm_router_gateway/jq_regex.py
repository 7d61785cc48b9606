"""jq's regular expressions on Python's `re`: what both read alike is translated, everything else is refused.

    pattern_of("(?<n>a+)b", "g").matches("xaab")  ->  [{"offset": 1, "length": 3, "string": "aab", "captures": [...]}]

jq uses Oniguruma with Perl's syntax and named groups. A pattern is read here piece by piece; a construct that Python lacks,
reads otherwise, or that Oniguruma refuses, is a JqRefused before it is used. The same reading tells how much work the
pattern can cause: a repetition of what can be matched in several ways is refused, and where repetitions follow one another,
the text's length times theirs is held below MAX_WORK, because Python's matcher cannot be interrupted.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from .jq_values import JqBudget, JqRefused, Value, fail

MAX_PATTERN = 1000  # characters
MAX_WORK = 4_000_000  # steps of the matcher on one text: some 50 ms at worst
MAX_REPEAT = 1000  # the largest number in {n,m}

ASCII = [chr(code) for code in range(128)]
OTHER = "é"  # stands for every character beyond ASCII when sets of characters are compared
SAMPLES = frozenset([*ASCII, OTHER])
LITERAL_ESCAPES = {"n": "\\n", "t": "\\t", "r": "\\r", "f": "\\f", "v": "\\v", "a": "\\x07", "e": "\\x1b"}
CLASS_ESCAPES = frozenset("dDwWsS")
ANCHOR_ESCAPES = {"b": "\\b", "B": "\\B", "A": "\\A", "z": "\\Z", "Z": "(?=\\n?\\Z)"}
POSIX = {
    "alpha": "A-Za-z",
    "digit": "0-9",
    "alnum": "0-9A-Za-z",
    "upper": "A-Z",
    "lower": "a-z",
    "space": "\\t-\\r ",
    "blank": "\\t ",
    "xdigit": "0-9A-Fa-f",
    "punct": "!-/:-@\\[-`{-~",
}  # for ASCII texts only, see Pattern.careful
QUANTIFIER = re.compile(r"([*+?]|\{(\d+)\}|\{(\d+),(\d*)\})([?+]?)", re.ASCII)
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
# What one character matches together with others when case is ignored: Oniguruma knows, Python does not.
FOLDS = re.compile("[\u0130\u0131\u00b5\u00df\u0149\u017f\u01f0\u0345\u0390\u03b0-\u03ff\u0587\u1c80-\u1c8f\u1e96-\u1e9f"
                   "\u1f00-\u1fff\u2126\u212a\u212b\ufb00-\ufb17]")  # fmt: skip
WORDLIKE = frozenset({"Lu", "Ll", "Lt", "Lo", "Nd", "Po", "Pd", "Ps", "Pe", "Pi", "Pf", "Sm", "Sc", "Sk"})

ALIKE = "\u00a0\u2028\u2029\u3000"  # of other kinds, and known to both engines as what they are


@dataclass
class Piece:
    """A part of a pattern: how Python writes it, and how it behaves."""

    text: str
    chars: frozenset[str] | None = None  # if it is exactly one character: which
    least: int = 0  # characters it takes at least
    fixed: bool = True  # it matches in one way only
    repeats: list[tuple[frozenset[str], bool]] = field(default_factory=list)  # what it repeats without end
    factor: int = 1  # ways to match besides those repetitions
    first: frozenset[str] = SAMPLES  # what it can begin with
    parts: list[Piece] = field(default_factory=list)  # of a sequence


def refuse(what: str) -> JqRefused:
    return JqRefused(f"regular expression: {what}")


@lru_cache(maxsize=512)
def sample(text: str, flags: int) -> frozenset[str]:
    """Which of SAMPLES a one-character pattern matches."""
    try:
        found = re.compile(text, flags)
    except re.error as error:
        raise refuse(str(error)) from None
    return frozenset(each for each in SAMPLES if found.fullmatch(each))


class Reader:
    """Reads a pattern in Oniguruma's Perl syntax and writes Python's."""

    def __init__(self, source: str, extended: bool, flags: int) -> None:
        self.source = source
        self.at = 0
        self.extended = extended
        self.flags = flags
        self.groups = 0
        self.names: list[str] = []
        self.depth = 0
        self.careful = False  # it asks what kind of character something is: only alike where both know the character

    def whole(self) -> Piece:
        piece = self.alternatives()
        if self.at < len(self.source):
            raise refuse("a bracket that was never opened")
        return piece

    def alternatives(self) -> Piece:
        self.depth += 1
        if self.depth > 20:
            raise refuse("nested too deeply")
        found = [self.sequence()]
        while self.source[self.at : self.at + 1] == "|":
            self.at += 1
            found.append(self.sequence())
        self.depth -= 1
        return found[0] if len(found) == 1 else alternation(found)

    def sequence(self) -> Piece:
        parts: list[Piece] = []
        while self.at < len(self.source) and self.source[self.at] not in "|)":
            piece = self.atom()
            if piece is not None:
                parts.append(self.quantified(piece))
        return sequence_of(parts)

    def atom(self) -> Piece | None:
        letter = self.source[self.at]
        if self.extended and (letter in " \t\n\r\f\v" or letter == "#"):
            raise refuse("white space or a comment together with the flag x")
        if letter in "*+?":
            raise refuse("nothing to repeat")
        if letter == "{" and QUANTIFIER.match(self.source, self.at):
            raise refuse("nothing to repeat")
        if letter == "(":
            return self.group()
        if letter == "[":
            return self.bracket()
        if letter == "\\":
            return self.escape()
        self.at += 1
        if letter in "^$":
            return Piece(letter, least=0)
        if letter == ".":
            return self.one_of(".")
        return self.one_of(re.escape(letter))

    def one_of(self, text: str) -> Piece:
        chars = sample(text, self.flags)
        return Piece(text, chars=chars, least=1, first=chars)

    def escape(self) -> Piece:
        letter = self.source[self.at + 1 : self.at + 2]
        self.at += 2
        if letter in CLASS_ESCAPES and letter:
            self.careful = True
            return self.one_of("\\" + letter)
        if letter in ANCHOR_ESCAPES:
            self.careful = self.careful or letter in "bB"
            return Piece(ANCHOR_ESCAPES[letter])
        if letter in LITERAL_ESCAPES:
            return self.one_of(LITERAL_ESCAPES[letter])
        if letter and letter.isascii() and not letter.isalnum():
            return self.one_of(re.escape(letter))
        raise refuse(f"\\{letter} is not supported")

    def group(self) -> Piece:
        rest = self.source[self.at : self.at + 4]
        opening, name = "(", None
        if rest.startswith(("(?:", "(?=", "(?!")):
            opening = rest[:3]
            self.at += 3
        elif rest.startswith("(?<") and rest[3:] not in ("=", "!", ""):
            name = self.group_name()
            opening = f"(?P<{name}>"
        elif rest.startswith(("(?", "(*")):
            raise refuse(f"a group that begins with {rest[:3]}")
        else:
            self.at += 1
        if opening == "(" or name:
            self.groups += 1
            self.names.append(name or "")
        inner = self.alternatives()
        if self.source[self.at : self.at + 1] != ")":
            raise refuse("a bracket without its end")
        self.at += 1
        if opening in ("(?=", "(?!"):
            if self.source[self.at : self.at + 1] in ("*", "+", "?", "{"):
                raise refuse("a repeated look-ahead")
            if "(" in inner.text.replace("\\(", "").replace("(?:", ""):
                raise refuse("a group inside a look-ahead")
            return Piece(opening + inner.text + ")", fixed=inner.fixed, repeats=inner.repeats, factor=inner.factor)
        return Piece(f"{opening}{inner.text})", inner.chars, inner.least, inner.fixed, inner.repeats, inner.factor,
                     inner.first, inner.parts)  # fmt: skip

    def group_name(self) -> str:
        match = NAME.match(self.source, self.at + 3)
        if match is None or self.source[match.end() : match.end() + 1] != ">":
            raise refuse("a group's name")
        self.at = match.end() + 1
        if match.group() in self.names:
            raise refuse("two groups of one name")
        return match.group()

    def bracket(self) -> Piece:
        """A class in square brackets: single characters, ranges, \\d and the like, [:alpha:]."""
        self.at += 1
        parts = ["["]
        if self.source[self.at : self.at + 1] == "^":
            parts.append("^")
            self.at += 1
        first = True
        while True:
            letter = self.source[self.at : self.at + 1]
            if letter == "" or (letter == "]" and first):
                raise refuse("a class without its end")
            if letter == "]":
                break
            parts.append(self.class_item())
            first = False
        self.at += 1
        return self.one_of("".join(parts) + "]")

    def class_item(self) -> str:
        if self.source.startswith("[:", self.at):
            match = re.compile(r"\[:([a-z]+):\]").match(self.source, self.at)
            if match is None or match.group(1) not in POSIX or self.flags & re.IGNORECASE:
                raise refuse("a class of that name")
            self.careful = True
            self.at = match.end()
            return POSIX[match.group(1)]
        low, single = self.class_character()
        if not single or self.source[self.at : self.at + 1] != "-" or self.source[self.at + 1 : self.at + 2] in ("]", ""):
            if self.source[self.at : self.at + 1] == "-" and self.source[self.at + 1 : self.at + 2] != "]":
                raise refuse("a range from a class")
            return low
        self.at += 1
        high, single = self.class_character()
        if not single:
            raise refuse("a range to a class")
        return f"{low}-{high}"

    def class_character(self) -> tuple[str, bool]:
        letter = self.source[self.at]
        if letter in "[&" and (letter == "[" or self.source.startswith("&&", self.at)):
            raise refuse("a class inside a class")
        self.at += 1
        if letter != "\\":
            return ("\\" + letter if letter in "-^&~|[" else letter), True
        letter = self.source[self.at : self.at + 1]
        self.at += 1
        if letter in CLASS_ESCAPES and letter:
            self.careful = True
            return "\\" + letter, False
        if letter in LITERAL_ESCAPES:
            return LITERAL_ESCAPES[letter], True
        if letter and letter.isascii() and not letter.isalnum():
            return "\\" + letter, True
        raise refuse(f"\\{letter} is not supported")

    def quantified(self, piece: Piece) -> Piece:
        match = QUANTIFIER.match(self.source, self.at)
        if match is None:
            if self.source[self.at : self.at + 2] == "{,":
                raise refuse("{,n} is not supported")
            return piece
        sign, exact, low, high, how = match.groups()
        self.at = match.end()
        if how == "+" or (how and exact) or (self.source[self.at : self.at + 1] or "x") in "*+?" or (
            QUANTIFIER.match(self.source, self.at)
        ):
            raise refuse("a repetition of a repetition")
        least = 1 if sign == "+" else int(exact or low or 0)
        most = 1 if sign == "?" else int(exact or high) if exact or high else None
        if least > MAX_REPEAT or (most or 0) > MAX_REPEAT or (most is not None and most < least):
            raise refuse("a repetition too large")
        if piece.chars is None and not piece.least:
            raise refuse("a repetition of what may be empty")
        return repeated(piece, match.group(), least, most)


def alternation(found: list[Piece]) -> Piece:
    text = "|".join(piece.text for piece in found)
    begins = [piece.first for piece in found]
    apart = all(not a & b for at, a in enumerate(begins) for b in begins[:at]) and all(piece.least for piece in found)
    return Piece(
        text,
        least=min(piece.least for piece in found),
        fixed=apart and all(piece.fixed for piece in found),
        repeats=[each for piece in found for each in piece.repeats],
        factor=sum(piece.factor for piece in found),
        first=frozenset().union(*begins),
    )


def sequence_of(parts: list[Piece]) -> Piece:
    if len(parts) == 1:
        return parts[0]
    first: frozenset[str] = frozenset()
    for piece in parts:
        first |= piece.first if piece.first else SAMPLES
        if piece.least:
            break
    factor = 1
    for piece in parts:
        factor = min(factor * piece.factor, MAX_WORK)
    return Piece(
        "".join(piece.text for piece in parts),
        least=sum(piece.least for piece in parts),
        fixed=all(piece.fixed for piece in parts),
        repeats=[each for piece in parts for each in piece.repeats],
        factor=factor,
        first=first or SAMPLES,
        parts=parts,
    )


def repeated(piece: Piece, sign: str, least: int, most: int | None) -> Piece:
    """piece with a quantifier. A repetition must be able to go through any text in one way only."""
    bare = not piece.text.startswith("(")
    text = piece.text + sign if bare else f"{piece.text}{sign}"
    if most == least:
        if not piece.fixed and least > 3:
            raise refuse("a repetition of what matches in several ways")
        return Piece(text, None, piece.least * least, piece.fixed, piece.repeats * max(1, least),
                     min(piece.factor ** max(1, least), MAX_WORK), piece.first)  # fmt: skip
    if most == 1:
        return Piece(text, None, 0, False, piece.repeats, piece.factor + 1, piece.first)
    if not piece.fixed and not separated(piece):
        raise refuse("a repetition of what matches in several ways")
    chars = piece.chars if piece.chars is not None else SAMPLES
    if most is None or most > 20:
        return Piece(text, None, piece.least * least, False, [*piece.repeats, (chars, piece.chars is not None)],
                     piece.factor, piece.first)  # fmt: skip
    return Piece(text, None, piece.least * least, False, piece.repeats * most, piece.factor * (most - least + 1), piece.first)


def separated(piece: Piece) -> bool:
    """A sequence in which one single character occurs in no other part: each turn of a repetition begins and ends there."""
    if not piece.parts:
        return False
    for at, part in enumerate(piece.parts):
        rest = piece.parts[:at] + piece.parts[at + 1 :]
        if part.chars is not None and all(simple(other) and not part.chars & reach(other) for other in rest):
            return True
    return False


def simple(piece: Piece) -> bool:
    """One character, or one repeated without end."""
    alone = len(piece.repeats) == 1 and piece.repeats[0][1]
    return piece.chars is not None or (alone and not piece.parts and piece.factor == 1)


def reach(piece: Piece) -> frozenset[str]:
    return piece.chars if piece.chars is not None else piece.repeats[0][0]


class Pattern:
    """A pattern with its flags, ready to be used on texts."""

    def __init__(self, source: str, modes: str) -> None:
        if len(source) > MAX_PATTERN:
            raise refuse(f"longer than {MAX_PATTERN} characters")
        unknown = set(modes) - set("gimnpslx")
        if unknown:
            raise fail(f"{modes} is not a valid modifier string")
        if "l" in modes:
            raise refuse("the flag l, the longest match")
        self.every, self.filled = "g" in modes, "n" in modes
        self.folds = "i" in modes
        if self.folds and not source.isascii():
            raise refuse("the flag i with characters beyond ASCII in the pattern")
        flags = (re.IGNORECASE if self.folds else 0) | (re.DOTALL if "p" in modes else 0)
        reader = Reader(source, "x" in modes, flags)
        piece = reader.whole()
        self.names = [name or None for name in reader.names]
        self.careful, self.piece = reader.careful, piece
        self.anchored = source.startswith(("^", "\\A")) and "|" not in source
        try:
            self.regex = re.compile(piece.text, flags)
        except (re.error, OverflowError, RecursionError) as error:
            raise refuse(str(error)) from None
        self.safe = int((MAX_WORK / piece.factor) ** (1 / max(1, len(piece.repeats) + (not self.anchored))))

    def check(self, text: str) -> None:
        """JqRefused where the two engines may differ on this text, JqBudget where it could take too long."""
        if len(text) > self.safe:
            self.weigh(text)
        if text.isascii():
            return
        if self.folds and FOLDS.search(text):
            raise refuse("the flag i on a text with letters of special case")
        if self.careful:
            for letter in set(text):
                if letter > "\x7f" and unicodedata.category(letter) not in WORDLIKE and letter not in ALIKE:
                    raise refuse(f"a class of characters on a text with {letter!r}")

    def weigh(self, text: str) -> None:
        work = self.piece.factor * (1 if self.anchored else self.starts(text))
        for chars, alone in self.piece.repeats:
            work *= 1 + (longest_run(text, chars) if alone else len(text))
            if work > MAX_WORK:
                raise JqBudget("a regular expression too costly for a text this long")
        if work > MAX_WORK:
            raise JqBudget("a regular expression too costly for a text this long")

    def starts(self, text: str) -> int:
        """How many places of the text it can begin to match at."""
        first = self.piece.first
        if len(first) > 60 or not self.piece.least or OTHER in first:
            return len(text) + 1
        return sum(map(text.count, first)) + (0 if text.isascii() or not self.folds else len(text))

    def test(self, text: str) -> bool:
        self.check(text)
        if self.filled:
            return any(True for _ in self.found(text))
        return self.regex.search(text) is not None

    def found(self, text: str) -> Iterator[re.Match[str]]:
        """The matches jq finds: with "g" all, empty ones included unless "n"."""
        at = 0
        while at <= len(text):
            match = self.regex.search(text, at)
            if match is None:
                return
            empty = match.end() == match.start()
            if not (empty and self.filled):
                yield match
            if not self.every:
                return
            at = match.end() + 1 if empty else match.end()
            if empty and at <= len(text) and text[at - 1] > "\x7f" and not self.anchored:
                raise refuse("an empty match before a character beyond ASCII")  # jq goes on inside the character

    def matches(self, text: str) -> list[Value]:
        self.check(text)
        return [self.described(match) for match in self.found(text)]

    def described(self, match: re.Match[str]) -> dict[str, Value]:
        captures: list[Value] = []
        for number, name in enumerate(self.names, 1):
            start, end = match.span(number)
            if start < 0:
                captures.append({"offset": -1, "string": None, "length": 0, "name": name})
            else:
                captures.append({"offset": start, "length": end - start, "string": match.group(number), "name": name})
        start, end = match.span()
        return {"offset": start, "length": end - start, "string": match.group(), "captures": captures}


def longest_run(text: str, chars: frozenset[str]) -> int:
    """The longest stretch of these characters."""
    if len(chars) > 100:
        missing = [re.escape(each) for each in SAMPLES - chars if each != OTHER]
        pattern = f"[^{''.join(missing)}]+" if missing else "(?s:.+)"
    else:
        beyond = f"{chr(128)}-{chr(0x10FFFF)}" if OTHER in chars else ""
        pattern = f"[{''.join(map(re.escape, sorted(chars - {OTHER})))}{beyond}]+"
    return max(map(len, re.findall(pattern, text)), default=0)


@lru_cache(maxsize=256)
def pattern_of(source: str, modes: str) -> Pattern:
    return Pattern(source, modes)
