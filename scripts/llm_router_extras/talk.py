"""The command `talk`: a conversation in the terminal, with commands that begin with a slash."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from llm_router_client import (
    AUTO,
    LLMRouterError,
    SafetyError,
    UsageError,
    check_model,
    clean,
    dump_json,
    image_part,
    near,
    open_client,
    own_file,
    request_of,
    show_answer,
    stream_answer,
    usual_model,
    with_system,
    without,
)

from .conversation import Conversation, check_new, own_conversation
from .files import private_file

if TYPE_CHECKING:
    from llm_router_client import JSON, Answer, Console, LLMRouterClient, Parser, Turns

CHOICE = ("task", "prefer")  # what is said about a model that is still to be chosen
MOST_HISTORY = 1_000  # lines that the arrow keys bring back
HELP = {
    "/model NAME": "use this model from now on; without NAME, show the current one",
    "/system TEXT": "system prompt, before all turns; without TEXT, none",
    "/image FILE": "show an image with the next question (repeatable)",
    "/save FILE": "write the conversation to a new file, for --messages-file",
    "/new": "start a new conversation",
    "/help": "show this",
    "/quit": "end, as Ctrl-D does",
    '"""': "begin a text of several lines, up to the next line with three quotes",
    "//TEXT": "send a text that begins with a slash",
}


class Talk:
    """The conversation so far, the model, and what goes with the next question."""

    def __init__(self, client: LLMRouterClient, args: Any, console: Console) -> None:
        self.client, self.args, self.console = client, args, console
        self.request = request_without_question(args)
        chosen = AUTO if {*CHOICE} & self.request.keys() else usual_model()
        self.model = self.request.pop("model", None) or chosen
        self.system: str | None = args.system
        self.turns: Turns = []
        self.images: Turns = []
        self.saved: Turns = []  # what the file of --continue held when it was last read or written
        if args.go_on:
            self.turns = self._load_turns()

    def _load_turns(self) -> Turns:
        """The turns of --continue, of which its instruction is ours unless another is given."""
        kept = Conversation(own_conversation())
        kept.close()
        self.saved = kept.messages
        turns = [] if self.args.new else kept.messages
        if turns and turns[0]["role"] == "system":
            self.system = self.system or str(turns[0]["content"])
            turns = turns[1:]
        if turns:
            self.console.note(f"continuing after {len(turns)} messages; /new starts a new conversation")
        return turns

    def ask(self, text: str) -> None:
        """Ask, and print the answer as it comes. Ctrl-C stops it: neither question nor half an answer are kept."""
        content = [{"type": "text", "text": text}, *self.images] if self.images else text
        question = {"role": "user", "content": content}
        messages = with_system(self.system, *self.turns, question)
        self.console.printed = False
        self.console.show_wait(self.model)
        options = self.request if self.model == AUTO else without(self.request, *CHOICE)  # /model may have named one
        request = {**options, "model": self.model, "messages": messages, "fallback": self.args.fallback}
        try:
            answer = stream_answer(self.client, request, self.args, self.console)
        except KeyboardInterrupt:
            self.console.note("stopped; question and answer are not part of the conversation")
            return
        except LLMRouterError as error:
            self.console.fail(error)
            return
        finally:
            self.console.end_wait()
        show_answer(answer, self.args, self.console, "")
        self.keep(question, answer)

    def keep(self, question: JSON, answer: Answer) -> None:
        """Add the turn; with --continue to the user's file, too. A cut answer is not added, as chat --append does."""
        if answer.finish_reason == "length":
            self.console.note("question and answer are not part of the conversation")
            return
        before, self.images = self.turns, []
        self.turns = [*before, question, {"role": "assistant", "content": answer.text or None}]
        if not self.args.go_on:
            return
        try:
            kept = Conversation(own_conversation())
            if kept.messages != self.saved:
                kept.close()
                step = "/save FILE keeps this conversation; talk --continue continues the saved one."
                raise SafetyError("another process changed the saved conversation, so this turn was not added", next_step=step)
            kept.messages = with_system(self.system, *before)
            kept.add([question], answer)
            self.saved = kept.messages
        except LLMRouterError as error:
            self.console.note(f"{error}; next: {error.next_step}")

    def command(self, line: str) -> bool:
        """Do what a line with a slash says; False for the end."""
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        if word in ("/quit", "/exit"):
            return False
        known = {"/model": self.set_model, "/system": self.set_system, "/image": self.add_image, "/save": self.save}
        if word == "/help":
            self.console.out("".join(f"  {name:<14}{text}\n" for name, text in HELP.items()))
        elif word == "/new":
            self.turns, self.images = [], []
        elif word in known:
            known[word](rest)
        else:
            hint = near(word, [*known, "/new", "/help", "/quit"])
            step = f"{hint}See /help; //TEXT sends a text that begins with a slash."
            raise UsageError(f"there is no command {word[:40]!r}", next_step=step)
        return True

    def set_model(self, name: str) -> None:
        if name:
            from .aliases import expand
            from .config import user_config

            self.model = check_model(expand(name, user_config().get("aliases", {})))
        self.console.note(f"talking to {self.model}")

    def set_system(self, text: str) -> None:
        self.system = text or None
        self.console.note("system prompt set" if text else "no system prompt")

    def add_image(self, path: str) -> None:
        if not path:
            raise UsageError("no image named", next_step="Write /image FILE or /image URL.")
        if len(path) > 1 and path[0] == path[-1] and path[0] in "'\"":  # as a terminal writes a file that is dropped on it
            path = path[1:-1]
        part, note = image_part(os.path.expanduser(path), self.args.detail, self.args.allow_path or ())
        self.images.append(part)
        self.console.note(f"{note or path} goes with the next question")

    def save(self, path: str) -> None:
        if not path:
            raise UsageError("no file named", next_step="Write /save FILE.")
        path = os.path.abspath(os.path.expanduser(path))
        try:
            with open(private_file(path, os.O_EXCL), "wb") as file:
                file.write(dump_json(with_system(self.system, *self.turns), indent=1).encode())
        except (OSError, ValueError) as error:  # a name may contain characters that no file name can have
            raise UsageError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}") from None
        self.console.note(f"saved {len(self.turns)} messages in {path}")


def request_without_question(args: Any) -> JSON:
    """What the options say about every call: request_of() needs a question, so it gets one, and the messages are removed."""
    from argparse import Namespace

    if args.model not in (None, AUTO) and (args.task or args.prefer):
        raise UsageError("--task and --prefer choose a model, and --model names one", next_step="Leave one of them out.")
    asking = Namespace(**{**vars(args), "message": "question", "system": None, "talk": None})
    return without(request_of(asking), "messages")


class Lines:
    """Lines from the terminal, with history by readline where there is one; else from standard input as it comes."""

    def __init__(self) -> None:
        self.prompt = "> " if sys.stdin.isatty() and sys.stdout.isatty() else ""
        self._history = own_file("", "XDG_STATE_HOME", ".local/state", "talk_history")
        self._readline: Any = None
        if self.prompt:
            self._load()

    def _load(self) -> None:
        try:
            import readline

            self._readline = readline
            os.makedirs(os.path.dirname(self._history), mode=0o700, exist_ok=True)
            os.close(private_file(self._history))
            readline.read_history_file(self._history)
            readline.set_history_length(MOST_HISTORY)
        except (ImportError, OSError):
            pass  # no history, then

    def keep_history(self) -> None:
        """After each line, since a terminal that is closed ends this program without a word."""
        if self._readline is not None:
            try:
                self._readline.write_history_file(self._history)
            except OSError:
                pass

    def read(self) -> str | None:
        """The next text, of several lines between lines of three quotes; None at the end."""
        line = self._line(self.prompt)
        self.keep_history()
        if line is None or line.strip() != '"""':
            return line
        lines: list[str] = []
        while (line := self._line(self.prompt and "... ")) is not None and line.strip() != '"""':
            lines.append(line)
        return "\n".join(lines)

    def _line(self, prompt: str) -> str | None:
        if prompt:
            try:
                return input(prompt)
            except EOFError:
                print()
                return None
            except UnicodeDecodeError:
                raise UsageError("the line is not UTF-8 text", next_step="Type it again; it was not sent.") from None
        line = sys.stdin.buffer.readline()
        return line.decode("utf-8", "replace").rstrip("\r\n") if line else None


def take_options(parser: Parser) -> None:
    """What `talk` and `mcp` have in common: the options of every call, without tools and forms of the answer."""
    left_out = ["--tools", "--tool-choice", "--functions", "--function-call", "--response-format", "--schema"]
    parser.take("model", "API parameters", "calls", "endpoint", but=left_out)
    parser.take("images", but=["-i --image", "-p --prompt"])
    parser.add_argument("--allow-path", metavar="DIR", action="append", help="also allow images in DIR (repeatable)")


def add_arguments(parser: Parser) -> None:
    """Options of the command `talk`."""
    take_options(parser)
    parser.add_argument("-s", "--system", metavar="TEXT", help="system prompt, before all turns")
    parser.add_argument("--continue", dest="go_on", action="store_true", help="continue the saved conversation")
    parser.add_argument("--new", action="store_true", help="with --continue: start a new one")
    parser.add_argument("--json", action="store_true", help="one JSON event a line, and a result for each answer")
    parser.add_argument("-v", "--verbose", action="store_true", help="time, tokens and cost on stderr")


def run(args: Any, console: Console) -> int:
    """The command `talk`: until /quit or the end of the input; errors of a turn end that turn and nothing else."""
    check_new(args)
    client = open_client(args, console)
    with contextlib.suppress(ValueError):  # another thread than the main one: signals are its caller's
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Ctrl-C stops an answer; this ends the program
    client.key()
    talk, lines = Talk(client, args, console), Lines()
    if lines.prompt:
        console.note(f"talking to {clean(talk.model)}; /help lists the commands, Ctrl-D ends")
    while True:
        try:
            text = lines.read()
            if text is None:
                return 0
            if text.startswith("/") and not text.startswith("//"):
                if not talk.command(text.strip()):
                    return 0
            elif text.strip():
                talk.ask(text[1:] if text.startswith("//") else text)
        except KeyboardInterrupt:
            if lines.prompt:
                print()
        except LLMRouterError as error:
            console.note(f"{error}; next: {error.next_step}")
