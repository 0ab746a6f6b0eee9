"""A person at the machine's terminal: every command and every key is typed, printed and counted."""

import subprocess
import threading
import time

from tests.machine.virtual import Machine, MachineError

_LIMIT_S = 2400.0


class Typist:
    """Types as ``resident``, who may use sudo."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.commands = self.keys = 0
        self.typed: list[str] = []

    def type(self, command: str, *answers: tuple[str, str], code: int = 0) -> str:
        """Type a command; behind each prompt the answer that belongs to it. Return what the terminal showed.

        Raises:
            MachineError: It ended with another code, or a prompt did not come.
        """
        self.commands += 1
        self.keys += len(command) + 1
        self.typed.append(command)
        print(f"   $ {command}", flush=True)
        begun = time.monotonic()
        words = [*self._machine.login("resident", tty=True), command]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as shell:
            timer = threading.Timer(_LIMIT_S, shell.kill)
            timer.start()
            try:
                shown = self._answer(shell, list(answers))
            finally:
                timer.cancel()
        if shell.returncode != code:
            raise MachineError(f"{command}: exit code {shell.returncode}, not {code}\n{shown[-3000:]}")
        print(f"     ({time.monotonic() - begun:.1f} s)", flush=True)
        return shown

    def edit(self, file: str, changes: dict[str, str]) -> None:
        """Change lines of a file as in an editor; what is typed in counts, and two keys to save and to leave."""
        self.commands += 1
        self.keys += len(f"sudo nano {file}") + 1 + 2
        program = ["import sys, pathlib", f"p = pathlib.Path({file!r})", "t = p.read_text()"]
        self.typed.append(f"sudo nano {file}")
        print(f"   $ sudo nano {file}", flush=True)
        for old, new in changes.items():
            common = len(new) if old in new else 0
            typed = new.replace(old, "") if common else new
            self.keys += len(typed)
            for line in typed.strip("\n").splitlines():
                print(f"     + {line}", flush=True)
            program += [f"assert {old!r} in t, 'the line is not there'", f"t = t.replace({old!r}, {new!r}, 1)"]
        program.append("p.write_text(t)")
        self._machine.ssh("python3 -", content="\n".join(program).encode())

    def _answer(self, shell: "subprocess.Popen[bytes]", answers: list[tuple[str, str]]) -> str:
        assert shell.stdin is not None
        assert shell.stdout is not None
        shown = b""
        seen = 0
        while part := shell.stdout.read1(4096):  # type: ignore[attr-defined]
            shown += part
            answer = "y" if b"[Y/n]" in shown[seen:] else None  # apt, if it would do more than it was told
            if answers and answers[0][0].encode() in shown[seen:]:
                answer = answers.pop(0)[1]
            if answer is not None:
                seen = len(shown)
                self.keys += len(answer) + 1
                shell.stdin.write(answer.encode() + b"\n")
                shell.stdin.flush()
        if answers:
            raise MachineError(f"never asked for: {answers[0][0]}\n{shown.decode(errors='replace')[-2000:]}")
        return shown.decode(errors="replace")
