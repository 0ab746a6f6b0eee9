"""One mutant per rule of the gate (PROTOCOL 6.2, G1 to G14), each to be killed by the state machine alone.

``python -m tests.mutate_rules [WORD…]``: as ``tests.mutate_gate``, in a copy. The machine stops at the first violation.
"""

import sys

from tests import mutate_gate

MACHINE = "tests/uplink/test_gate_machine.py"
DECISION = ("consent/decision.py", MACHINE)
BOUND = ("consent/bound.py", MACHINE)
RULES = ("consent/rules.py", MACHINE)
JUDGE = ("uplink/inbound/evaluator.py", MACHINE)
REGRANT = ("uplink/release/recheck.py", MACHINE)
HANDOVER = ("uplink/release/key_step.py", MACHINE)
REGISTER = ("uplink/inbound/register.py", MACHINE)
OWNER = ("uplink/owner/request_commands.py", MACHINE)
ORDERS = ("uplink/owner/orders.py", MACHINE)
INTAKE = ("uplink/inbound/intake.py", MACHINE)
STORE = ("uplink/store/requests.py", MACHINE)
RELEASES = ("uplink/store/releases.py", MACHINE)
HOUSEHOLD = ("consent/house_state.py", MACHINE)
WAIVER = ("consent/signed_consent.py", MACHINE)
IN_FORCE = ("uplink/store/in_force.py", MACHINE)
TRUST = ("protocol/trust_bundle.py", MACHINE)
LIMITS = ("uplink/inbound/refusal_limits.py", MACHINE)
NEWER = "WHERE excluded.version > version"

MUTANTS: dict[str, mutate_gate.Mutant] = {
    "G1 a later evaluation is not recorded": (
        REGRANT,
        "        self._register.narrow(connection, request, evaluation, outlook.now)\n",
        "",
    ),
    "G2 an unreadable file counts as what was signed": (
        RULES,
        "elif in_force.unknown is not None and not as_signed:",
        "elif False:",
    ),
    "G2 what is unknown is a denial": (
        RULES,
        "return bool(self.reasons) and {each.code for each in self.reasons} <= UNKNOWN",
        "return False",
    ),
    "G3 a request is decided by any clock": (
        ("consent/admission.py", MACHINE),
        "if clock_state is not ClockState.SYNCHRONISED or me.born_at is None:",
        "if me.born_at is None:",
    ),
    "G4 a camera without a place is anywhere": (
        RULES,
        '        return _reason("place-missing", case.camera)\n',
        "        return None\n",
    ),
    "G4 a camera that was not decided enters later": (
        DECISION,
        "cameras=tuple(_bound_by(case) for case in offered),",
        "cameras=tuple(_bound_by(each.case) for each in findings if each.case is not None),",
    ),
    "G5 what is allowed now replaces the bound": (
        DECISION,
        "met = mine.meet(_bound_by(case))",
        "met = _bound_by(case)",
    ),
    "G5 spans grow back": (BOUND, "windows = intersect(self.windows, other.windows)", "windows = other.windows"),
    "G5 sound grows back": (BOUND, "audio=self.audio and other.audio", "audio=other.audio"),
    "G5 masks go away": (
        BOUND,
        "tuple(sorted({*self.masks, *other.masks}, key=lambda mask: mask.points))",
        "other.masks",
    ),
    "G5 escrow comes back": (
        DECISION,
        "escrow = bound.escrow and all(house.escrow for house in houses)",
        "escrow = all(house.escrow for house in houses)",
    ),
    "G5 a denied camera stays": (
        DECISION,
        "        if finding.is_unknown and (case is None or case.consent.find_source(mine.quality) == mine.source):\n"
        "            kept",
        "        if True:\n            kept",
    ),
    "G5 what would be asked now is not": (
        DECISION,
        "        if not bound.asks:\n            reasons.append(",
        "        if False:\n            reasons.append(",
    ),
    "G5 a pause acts at the next step only": (
        OWNER,
        "            entries.append(connection, entry, outlook.now)\n"
        "            aftermath = Aftermath()\n"
        "            self._reauthorization.evaluate_all(connection, outlook, aftermath)\n",
        "            entries.append(connection, entry, outlook.now)\n            aftermath = Aftermath()\n",
    ),
    "G6 the bundle of a camera that left stays": (
        REGRANT,
        "            if evaluation.bound.find(each.camera) is None\n            or (",
        "            if False\n            or False and (",
    ),
    "G6 a key that waits is not looked at": (
        HANDOVER,
        "leaves = is_here and isinstance(verdict, Grant) and outlook.now >= verdict.not_before",
        "leaves = is_here",
    ),
    "G6 a key that was taken back leaves": (
        HANDOVER,
        "leaves = is_here and isinstance(verdict, Grant)",
        "leaves = isinstance(verdict, Grant)",
    ),
    "G7 a consent signed anew widens": (
        BOUND,
        "if of != (other.camera, other.quality, other.source) or not windows:",
        "if not other.trims:\n            return other\n        if not windows:",
    ),
    "G8 an approval grants all that was asked": (DECISION, " if mine.camera in approval.cameras else ()", ""),
    "G8 an approval grants all of the time": (
        DECISION,
        "windows = intersect(mine.windows, (approval.window,))",
        "windows = mine.windows",
    ),
    "G8 an approval may come late": (DECISION, "if windows and now < mine.answer_by:", "if windows:"),
    "G8 an approval of another offer counts": (
        DECISION,
        "if approval.offer_sha256 != digest_offers(offers):",
        "if False:",
    ),
    "G8 an approval of what was not offered counts": (
        DECISION,
        "if not set(approval.cameras) <= set(offers.names) or",
        "if",
    ),
    "G9 the cooling-off begins when the order says": (DECISION, "cools_from=now)", "cools_from=approval.signed_at)"),
    "G9 a longer cooling-off is ignored": (
        DECISION,
        "longest = max([bound.cooling_off, *(house.cooling_off for house in houses)])",
        "longest = bound.cooling_off",
    ),
    "G9 a shorter cooling-off counts": (
        DECISION,
        "longest = max([bound.cooling_off, *(house.cooling_off for house in houses)])",
        "longest = max([house.cooling_off for house in houses] or [bound.cooling_off])",
    ),
    "G9 not_before is not demanded": (
        REGRANT,
        "if not isinstance(verdict, Grant) or outlook.now < verdict.not_before:",
        "if not isinstance(verdict, Grant):",
    ),
    "G10 the quota is counted back from now": (JUDGE, "stored.id, bound.decided_at)", "stored.id, moment.now)"),
    "G10 later requests count as well": (STORE, "FROM quota WHERE request_id < ?5 GROUP", "FROM quota WHERE ?5 GROUP"),
    "G10 a decision uses no quota": (
        REGISTER,
        "for camera, granted_ns in assessment.uses:",
        "for camera, granted_ns in ():",
    ),
    "G11 the bound is stored later": (REGISTER, "step.approval, step.bound)", "step.approval)"),
    "G6 the key of a request that ended stays": (
        RELEASES,
        'replace(release, header=b"")',
        "release",
    ),
    "G12 a later consent's source is released": (
        BOUND,
        "of = (self.camera, self.quality, self.source)",
        "of = (self.camera, self.quality, other.source)",
    ),
    "G12 a camera that points elsewhere counts as signed": (WAIVER, "    if changed:\n", "    if False:\n"),
    "G13 an earlier consent is taken in": (IN_FORCE, f"revoked = 0 {NEWER}", "revoked = 0"),
    "G13 a revoked consent is taken in again": (
        IN_FORCE,
        f"revoked = 0 {NEWER}",
        f"revoked = 0 {NEWER.replace('>', '>=')}",
    ),
    "G13 a revocation is forgotten": (IN_FORCE, "UPDATE consent SET revoked = 1", "UPDATE consent SET revoked = 0"),
    "G13 an order counts twice": (
        ORDERS,
        "if not self.store.orders.mark_used(connection, order.order_id, now):",
        "if not self.store.orders.mark_used(connection, order.order_id, now) and False:",
    ),
    "G13 an earlier trust bundle counts again": (TRUST, "if wire.version <= current.version:", "if False:"),
    "G14 a counted refusal is not remembered": (
        LIMITS,
        "        self._store.refusals.add(connection, known)\n        self._store.refusals.add_counted",
        "        self._store.refusals.add_counted",
    ),
    "G14 every refusal is entered": (
        LIMITS,
        "over = self._store.refusals.find_key_over(hour, kids, self._room.entered)",
        "over = None",
    ),
    "G14 noise hides a grant": (
        INTAKE,
        "if isinstance(assessment.verdict, Denial) and over is not None and not assessment.uses:",
        "if over is not None:",
    ),
    "G14 noise makes room in a quota": (INTAKE, "over is not None and not assessment.uses:", "over is not None:"),
    "G14 nobody is told": (
        REGISTER,
        "            self._store.notices.add(connection, request.id, row.phase.value)\n",
        "",
    ),
}


if __name__ == "__main__":
    sys.exit(mutate_gate.main(sys.argv[1:], MUTANTS))
