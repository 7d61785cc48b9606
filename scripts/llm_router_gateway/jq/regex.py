"""jq's regular expressions on Python's `re`: what both read alike is translated, everything else is refused.

    pattern_of("(?<n>a+)b", "g").matches("xaab", charge)  ->  {"offset": 1, "length": 3, "string": "aab", "captures": [...]}

jq uses Oniguruma with Perl's syntax and named groups. A pattern is read here piece by piece; a construct that Python lacks,
reads otherwise, or that Oniguruma refuses, is a JqRefused before it is used. The same reading shows how much work the
pattern can cause: a repetition of what can be matched in several ways is refused, and where repetitions follow one another,
the text's length times theirs is held below MAX_WORK, because Python's matcher cannot be interrupted.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

from .values import JqBudget, JqRefused, Value, fail

MAX_PATTERN = 1000  # characters
MAX_WORK = 4_000_000  # steps of the matcher on one text: some 50 ms at worst
LITTLE_WORK = 4_000  # steps of the matcher that are not worth a closer look at the text
STEPS_OF_A_MATCH = 1  # to find and describe one, beside one for each of its groups: some 1 us
FREE_WIDTH = 8  # characters of one way through a pattern that cost nothing extra: reading on is quicker than trying again
MAX_REPEAT = 1000  # the largest number in {n,m}

ASCII = [chr(code) for code in range(128)]
OTHER = "é"  # stands for every character beyond ASCII when sets of characters are compared
SAMPLES = frozenset([*ASCII, OTHER])
LITERAL_ESCAPES = {"n": "\\n", "t": "\\t", "r": "\\r", "f": "\\f", "v": "\\v", "a": "\\x07", "e": "\\x1b"}
CLASS_ESCAPES = frozenset("dDwWsS")
ANCHOR_ESCAPES = {"b": "\\b", "A": "\\A", "z": "\\Z", "Z": "(?=\\n?\\Z)"}
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
}  # for ASCII texts only, see Pattern.ascii
QUANTIFIER = re.compile(r"([*+?]|\{(\d+)\}|\{(\d+),(\d*)\})([?+]?)", re.ASCII)
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
# What one character matches together with others when case is ignored: Oniguruma knows, Python does not.
FOLDS = re.compile("[\u0130\u0131\u00b5\u00df\u0149\u017f\u01f0\u0345\u0390\u03b0-\u03ff\u0587\u1c80-\u1c8f\u1e96-\u1e9f"
                   "\u1f00-\u1fff\u2126\u212a\u212b\ufb00-\ufb17]")  # fmt: skip

WORD, NO_WORD = 0xA000, 0x2603  # characters both engines take for a letter, and for none
WORD_SYMBOLS = ((0x24B6, 0x24E9), (0x1F130, 0x1F149), (0x1F150, 0x1F169), (0x1F170, 0x1F189))  # letters in circles and boxes


def refuse(what: str) -> JqRefused:
    return JqRefused(f"regular expression: {what}")


class Lookalikes(dict[int, int]):
    """Code point -> one that Python's \\w sees as Oniguruma's sees the first. Found once per character."""

    def __missing__(self, code: int) -> int:
        self[code] = found = self.lookalike(code)
        return found

    def lookalike(self, code: int) -> int:
        category = unicodedata.category(chr(code))
        if code < 128:
            return code
        if category == "Cn" or chr(code) in "²³¹¼½¾":  # in a class Oniguruma takes these for no letters, outside for letters
            raise refuse("a class of characters on a text with a character of unclear kind")
        if category in ("Mn", "Mc", "Me", "Pc") or any(low <= code <= high for low, high in WORD_SYMBOLS):
            return WORD
        return NO_WORD if category == "No" else code


LOOKALIKES = Lookalikes()


Repeats = list[frozenset[str]]  # for each repetition without end, the characters it can go through


@dataclass
class Piece:
    """A part of a pattern: how Python writes it, and how it behaves."""

    text: str
    chars: frozenset[str] | None = None  # if it is exactly one character: which
    unit: frozenset[str] | None = None  # if it is one character, however often: which
    least: int = 0  # characters it takes at least
    width: int = 0  # characters that one way through it can read, endless repetitions read once
    fixed: bool = True  # it matches in one way only
    repeats: Repeats = field(default_factory=list)
    factor: int = 1  # ways to match besides those repetitions
    first: frozenset[str] = SAMPLES  # what it can begin with
    alphabet: frozenset[str] = frozenset()  # what it can go through
    parts: list[Piece] = field(default_factory=list)  # of a sequence
    looks: list[tuple[int, Repeats]] = field(default_factory=list)  # factor and repeats of each look-ahead inside


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
        self.ascii = False  # it names a class that is only alike on ASCII texts

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
                parts.append(self.quantify(piece))
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
        return Piece(text, chars=chars, unit=chars, least=1, width=1, first=chars, alphabet=chars)

    def escape(self) -> Piece:
        letter = self.source[self.at + 1 : self.at + 2]
        self.at += 2
        if letter in CLASS_ESCAPES and letter:
            self.careful = True
            return self.one_of("\\" + letter)
        if letter in ANCHOR_ESCAPES:
            self.careful = self.careful or letter == "b"
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
            return Piece(opening + inner.text + ")", width=inner.width, looks=[(inner.factor, inner.repeats), *inner.looks])
        return replace(inner, text=f"{opening}{inner.text})")

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
            self.ascii = True
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

    def quantify(self, piece: Piece) -> Piece:
        match = QUANTIFIER.match(self.source, self.at)
        if match is None:
            if self.source[self.at : self.at + 2] == "{,":
                raise refuse("{,n} is not supported")
            return piece
        sign, exact, low, high, how = match.groups()
        self.at = match.end()
        if (
            how == "+"
            or (how and exact)
            or (self.source[self.at : self.at + 1] or "x") in "*+?"
            or (QUANTIFIER.match(self.source, self.at))
        ):
            raise refuse("a repetition of a repetition")
        least = 1 if sign == "+" else int(exact or low or 0)
        most = 1 if sign == "?" else int(exact or high) if exact or high else None
        if least > MAX_REPEAT or (most or 0) > MAX_REPEAT or (most is not None and most < least):
            raise refuse("a repetition too large")
        if piece.chars is None and not piece.least:
            raise refuse("a repetition of what may be empty")
        return repeat(piece, match.group(), least, most)


def union(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*sets)


def alternation(found: list[Piece]) -> Piece:
    begins = [piece.first for piece in found]
    apart = all(not a & b for at, a in enumerate(begins) for b in begins[:at]) and all(piece.least for piece in found)
    return Piece(
        "|".join(piece.text for piece in found),
        least=min(piece.least for piece in found),
        width=sum(piece.width for piece in found),
        fixed=apart and all(piece.fixed for piece in found),
        repeats=[each for piece in found for each in piece.repeats],
        factor=sum(piece.factor for piece in found),
        first=union(begins),
        alphabet=union(piece.alphabet for piece in found),
        looks=[each for piece in found for each in piece.looks],
    )


def sequence_of(parts: list[Piece]) -> Piece:
    if len(parts) == 1:
        return parts[0]
    first: frozenset[str] = frozenset()
    factor = 1
    for piece in parts:
        factor = min(factor * piece.factor, MAX_WORK)
    for piece in parts:
        first |= piece.first
        if piece.least:
            break
    return Piece(
        "".join(piece.text for piece in parts),
        least=sum(piece.least for piece in parts),
        width=min(sum(piece.width for piece in parts), MAX_WORK),
        fixed=all(piece.fixed for piece in parts),
        repeats=[each for piece in parts for each in piece.repeats],
        factor=factor,
        first=first or SAMPLES,
        alphabet=union(piece.alphabet for piece in parts),
        parts=parts,
        looks=[each for piece in parts for each in piece.looks],
    )


def repeat(piece: Piece, sign: str, least: int, most: int | None) -> Piece:
    """piece with a quantifier. A repetition must be able to go through any text in one way only."""
    width = min(piece.width * max(1, most or 1), MAX_WORK)
    made = replace(piece, text=piece.text + sign, chars=None, least=piece.least * least, width=width, parts=[])
    if most == least:
        if not piece.fixed and least > 3:
            raise refuse("a repetition of what matches in several ways")
        made.repeats = piece.repeats * max(1, least)
        made.factor = min(piece.factor ** max(1, least), MAX_WORK)
        return made
    made.fixed = False
    if most == 1:
        made.factor = piece.factor + 1
        return made
    if not piece.fixed and not is_separated(piece):
        raise refuse("a repetition of what matches in several ways")
    if most is None or most > 20:
        made.repeats, made.factor = [piece.alphabet], 1  # one way through: what is inside adds nothing
    else:
        made.repeats = piece.repeats * most
        made.factor = min(piece.factor**most * (most - least + 1), MAX_WORK)
    return made


def is_separated(piece: Piece) -> bool:
    """A sequence in which one single character occurs in no other part: each turn of a repetition begins and ends there."""
    for at, part in enumerate(piece.parts):
        rest = piece.parts[:at] + piece.parts[at + 1 :]
        if part.chars and all(other.unit is not None and not part.chars & other.unit for other in rest):
            return True
    return False


class Pattern:
    """A pattern with its flags, ready to be used on texts; ask `steps` first what that costs."""

    def __init__(self, source: str, modes: str) -> None:
        if source.startswith("(?i)"):
            source, modes = source[4:], modes + "i"
        if len(source) > MAX_PATTERN:
            raise refuse(f"longer than {MAX_PATTERN} characters")
        unknown = set(modes) - set("gimnpslx")
        if unknown:
            raise fail(f"{modes} is not a valid modifier string")
        if "l" in modes:
            raise refuse("the flag l, the longest match")
        self.every = "g" in modes
        self.folds = "i" in modes
        if self.folds and not source.isascii():
            raise refuse("the flag i with characters beyond ASCII in the pattern")
        flags = (re.IGNORECASE if self.folds else 0) | (re.DOTALL if "p" in modes else 0)
        reader = Reader(source, "x" in modes, flags)
        piece = reader.whole()
        if "n" in modes and not piece.least:
            raise refuse("the flag n with a pattern that can be empty")
        self.names = [name or None for name in reader.names]
        self.groups = len(self.names)
        self.source = source
        self.spaces = "\\s" in source or "\\S" in source
        self.careful, self.ascii, self.piece = reader.careful, reader.ascii, piece
        self.anchored = source.startswith(("^", "\\A")) and "|" not in source
        try:
            self.regex = re.compile(piece.text, flags)
        except (re.error, OverflowError, RecursionError) as error:
            raise refuse(str(error)) from None
        powers = max([len(piece.repeats), *(len(piece.repeats) + len(repeats) for _, repeats in piece.looks)])
        self.powers = powers + (not self.anchored)
        self.width = max(1, piece.width // FREE_WIDTH)
        self.factor = piece.factor * self.width * (1 + sum(factor for factor, _ in piece.looks))
        self.safe = int((MAX_WORK / self.factor) ** (1 / max(1, self.powers)))

    def steps(self, text: str) -> int:
        """What using it on this text costs of a run's budget; JqBudget where that is above MAX_WORK."""
        size = len(text)
        work = int((size + 1) ** self.powers) * self.factor if size <= self.safe else MAX_WORK + 1
        if work > LITTLE_WORK:  # then a closer look at the text is worth its time
            work = self.closer(text)
        if work > MAX_WORK and size > self.safe:
            raise JqBudget("a regular expression too costly for a text this long")
        return 1 + (size >> 8) + (max(0, work - size - 1) >> 7)

    def closer(self, text: str) -> int:
        """The work on this very text: where it can begin to match, and how far each repetition can go."""
        work = self.piece.factor * self.width * (1 if self.anchored else self.starts(text)) * ways(text, self.piece.repeats)
        return work * (1 + sum(factor * ways(text, repeats) for factor, repeats in self.piece.looks))

    def readable(self, text: str) -> str:
        """The text as Python must see it to match what jq matches; JqRefused where that is not certain."""
        if self.spaces and any(mark in text for mark in "\x1c\x1d\x1e\x1f"):
            raise refuse("white space on a text with separators of files and records")
        if text.isascii():
            return text
        if self.ascii:
            raise refuse("a class like [:alpha:] on a text beyond ASCII")
        if self.folds and FOLDS.search(text):
            raise refuse("the flag i on a text with letters of special case")
        if not self.careful:
            return text
        seen = text.translate(LOOKALIKES)
        if seen != text and not self.source.isascii():
            raise refuse("a class of characters and a letter beyond ASCII in one pattern")
        return seen

    def starts(self, text: str) -> int:
        """How many places of the text it can begin to match at."""
        first = self.piece.first
        if len(first) > 60 or not self.piece.least or OTHER in first:
            return len(text) + 1
        return sum(map(text.count, first)) + (0 if text.isascii() or not self.folds else len(text))

    def test(self, text: str) -> bool:
        return self.regex.search(self.readable(text)) is not None

    def find(self, text: str, charge: Callable[[int], None]) -> Iterator[re.Match[str]]:
        """The matches jq finds: with "g" all, empty ones included unless "n". Each costs steps of its own."""
        at = 0
        while at <= len(text):
            charge(STEPS_OF_A_MATCH + self.groups)
            match = self.regex.search(text, at)
            if match is None:
                return
            empty = match.end() == match.start()
            yield match
            if not self.every:
                return
            at = match.end() + 1 if empty else match.end()
            if empty and at <= len(text) and text[at - 1] > "\x7f" and not self.anchored:
                raise refuse("an empty match before a character beyond ASCII")  # jq goes on inside the character

    def matches(self, text: str, charge: Callable[[int], None]) -> Iterator[Value]:
        return (self.capture(match, text) for match in self.find(self.readable(text), charge))

    def capture(self, match: re.Match[str], text: str) -> dict[str, Value]:
        captures: list[Value] = []
        for number, name in enumerate(self.names, 1):
            start, end = match.span(number)
            if start == end:  # in jq's own order of keys
                captures.append({"offset": start, "string": None if start < 0 else "", "length": 0, "name": name})
                continue
            captures.append({"offset": start, "length": end - start, "string": text[start:end], "name": name})
        start, end = match.span()
        return {"offset": start, "length": end - start, "string": text[start:end], "captures": captures}


def ways(text: str, repeats: Repeats) -> int:
    """In how many ways these repetitions can share a text, at most."""
    result = 1
    for chars in repeats:
        result *= 1 + longest_run(text, chars)
    return result


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
