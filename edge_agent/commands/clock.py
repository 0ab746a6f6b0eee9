"""``edge-agent clock``: how far the gateway's clock is believed and why, and the owner's word that it is right."""

import argparse
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from edge_agent.commands.daemon import add_config
from edge_agent.commands.owner_key import add_passphrase, sign_owner_order
from edge_agent.errors import EdgeAgentError, UnavailableError, UsageError
from edge_agent.host.clock import SystemClock, read_build_time, read_kernel_time
from edge_agent.host.control_socket import call
from edge_agent.host.questions import writes_yes
from edge_agent.host.terminal import print_json, print_text
from edge_agent.local_time import localise, say_moment
from edge_agent.settings.gateway import Config, load_config
from edge_agent.units import SECOND_NS, UtcNs, encode_rfc3339, parse_rfc3339

PROCESSES: tuple[Literal["recorder", "releaser"], ...] = ("recorder", "releaser")
_DESCRIPTION = """\
Show the wall clock, who disciplines it, the floor below which it is not believed, and whether recorder and releaser
believe it, and why not.

  edge-agent clock                 look
  edge-agent clock confirm         say that the time is right (asks for your passphrase)

Your word is needed where the clock was set while the gateway ran, where it was set far ahead and footage is therefore
kept for longer than you said, and where the floor lies in the future because the clock was wrong once. Compare the
time that is shown with a clock that you trust: what is older than you keep, by this time, is destroyed at once. It is
refused unless a time source says the same, and entered in the ledger.

exit code: 0 both processes believe the clock, 1 one of them does not, or does not answer
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = _DESCRIPTION
    parser.add_argument("verb", nargs="?", choices=("show", "confirm"), default="show")
    parser.add_argument("--yes", action="store_true", help="do not ask whether the time is right")
    add_passphrase(parser)
    add_config(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show, or confirm; the exit code is in the help."""
    config = load_config(args.config)
    shown: dict[str, dict[str, Any]] = {"here": _look_here(config)}
    for name in PROCESSES:
        shown[name] = _ask(config, name)
    if args.verb == "confirm":
        return _confirm(args, config, shown)
    if args.json:
        print_json(shown)
    else:
        _print(shown, ZoneInfo(config.gateway.time_zone))
    return 0 if all(shown[name].get("state") == "synchronised" for name in PROCESSES) else 1


def _look_here(config: Config) -> dict[str, Any]:
    """Return what this command itself sees: the clocks and their source, whether or not the processes answer."""
    clock = SystemClock(trust_wall_clock=config.clock.trust == "wall-clock")
    wall, boot, source, kernel = clock.wall(), clock.boot(), clock.source(), read_kernel_time()
    local = datetime.fromtimestamp(wall // SECOND_NS, UTC).astimezone(ZoneInfo(config.gateway.time_zone))
    return {
        "wall": encode_rfc3339(wall),
        "local": f"{local:%A %Y-%m-%d %H:%M:%S} in {config.gateway.time_zone}",
        "boot_ns": boot,
        "utc_minus_boot_ns": wall - boot,
        "source": {"state": source.state.value, "by": source.by},
        "kernel": {"state": kernel.state.value, "max_error_us": kernel.max_error_us},
        "build_time": encode_rfc3339(read_build_time()),
    }


def _ask(config: Config, process: Literal["recorder", "releaser"]) -> dict[str, Any]:
    try:
        answer = call(config.control_path(process), "clock")
    except EdgeAgentError as error:
        # A process that does not answer is itself a finding, and the other one is still asked.
        return {"error": str(error)}
    answer.pop("done", None)
    return answer


def _print(shown: Mapping[str, Mapping[str, Any]], zone: ZoneInfo) -> None:
    here = shown["here"]
    kernel = here["kernel"]
    print_text(f"wall clock   {here['local']} ({encode_rfc3339(_to_second(here['wall']))})")
    print_text(f"time source  {here['source']['state']}, says the {here['source']['by']}")
    print_text(f"kernel       {kernel['state']}, error below {kernel['max_error_us'] / 1000:.0f} ms")
    offset_s = here["utc_minus_boot_ns"] / 1e9
    print_text(f"boot time    {here['boot_ns'] / 1e9:.0f} s; the wall clock is {offset_s:.3f} s ahead of it")
    print_text(f"installed    {say_moment(_to_second(here['build_time']), zone)}")
    for name in PROCESSES:
        facts = shown[name]
        if "error" in facts:
            print_text(f"{name}     not running ({facts['error']})")
            continue
        print_text(f"{name}     {facts['state']}" + (f": {localise(facts['why'], zone)}" if facts["why"] else ""))
        print_text(f"             believes nothing before {say_moment(_to_second(facts['floor']), zone)}")
        for ring in facts.get("held_back", ()):
            print_text(f"             keeps footage of {ring} for longer than you said: the clock was set ahead")
    if waits_for_owner(shown):
        print_text("\nIf the time above is right, say so: edge-agent clock confirm")


def _to_second(text: str) -> UtcNs:
    return UtcNs(parse_rfc3339(text) // SECOND_NS * SECOND_NS)


def waits_for_owner(shown: Mapping[str, Mapping[str, Any]]) -> bool:
    """Tell whether anything waits for the owner's word."""
    from_source = shown["here"]["source"]["state"] == "synchronised"
    doubted = any(shown[name].get("state") == "floor-only" for name in PROCESSES)
    return from_source and (doubted or bool(shown["recorder"].get("held_back")))


def _confirm(args: argparse.Namespace, config: Config, shown: Mapping[str, Mapping[str, Any]]) -> int:
    here = shown["here"]
    if here["source"]["state"] != "synchronised":
        raise UsageError(
            "the time cannot be confirmed: no time source disciplines the wall clock",
            "`timedatectl` shows why; give the command again once it is synchronised",
        )
    for name in PROCESSES:
        if "error" in shown[name]:
            raise UnavailableError(
                shown[name]["error"], "both processes have to run: the releaser enters it in the ledger"
            )
    if not waits_for_owner(shown):
        print_text("nothing waits for your word: the clock is believed")
        return 0
    if not args.json:
        _print(shown, ZoneInfo(config.gateway.time_zone))
    if not args.yes:
        _demand_right(here["local"])
    signed = sign_owner_order(config, "confirm-clock", {}, args.passphrase_file)
    clock = SystemClock()
    # The order confirms the time that was shown: a step between question and signature would
    # confirm another one.
    if abs(clock.wall() - clock.boot() - here["utc_minus_boot_ns"]) > 1_000_000_000:
        raise UsageError("the clock was set while you were asked; nothing was changed", "look again: edge-agent clock")
    answers, failed = _send(config, signed)
    if args.json:
        print_json({"confirmed": answers, "failed": failed})
    else:
        _tell(answers, failed, ZoneInfo(config.gateway.time_zone))
    return os.EX_TEMPFAIL if failed else 0


def _demand_right(local: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to compare the time", "in a script: --yes")
    print_text("Footage that is older than you keep, by this time, is destroyed at once.")
    if not writes_yes(f"if it is {local} by a clock that you trust"):
        raise UsageError("nothing was changed", "set the clock right first: `timedatectl`")


def _send(config: Config, signed: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Give the one order to both processes, first to the one that enters it in the ledger."""
    answers = {"releaser": call(config.control_path("releaser"), "confirm-clock", jws=signed)}
    try:
        answers["recorder"] = call(config.control_path("recorder"), "order", jws=signed)
    except EdgeAgentError as error:
        return answers, {"recorder": f"{error}; give the command again"}
    return answers, {}


def _tell(answers: Mapping[str, Mapping[str, Any]], failed: Mapping[str, str], zone: ZoneInfo) -> None:
    for name, answer in answers.items():
        lowered = answer["floor"] != answer["floor_was"]
        was, now = (say_moment(_to_second(answer[key]), zone) for key in ("floor_was", "floor"))
        print_text(f"{name}: believes the clock" + (f"; floor was {was}, is {now}" if lowered else ""))
    for name, text in failed.items():
        print_text(f"NOT CONFIRMED {name}: {text}")
