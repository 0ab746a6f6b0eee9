"""The desk's commands to the releaser: reads, a draft of an act that loosens or shows footage, and that draft signed.

Owns the desk's short list, and the order in which an act is judged: the owner's signature over the very bytes of the
draft, then the code, then the ledger, then the owner's own command, which judges all of it again. The desk is trusted
with none of it: it holds no code, and a signature that it got hold of does nothing without one.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from edge_agent.errors import DenialError, UnavailableError, UsageError
from edge_agent.host.control_socket import Handler, Peer, Reply, read_texts
from edge_agent.host.page_socket import PushLimit
from edge_agent.ledger import entries
from edge_agent.ledger.owner_kinds import PageEntry
from edge_agent.protocol import jws
from edge_agent.texts import Texts
from edge_agent.uplink.owner.desk_codes import LIFE_S, Codes, DeskDraft, WrongCodeError
from edge_agent.uplink.owner.desk_drafts import Drafts
from edge_agent.uplink.owner.notice_words import Notice, code_notice
from edge_agent.uplink.owner.orders import OwnerOrders

BY = "desk"
READS = ("house", "request", "recordings", "terms", "status")
MORE_READS = ("terms-form", "terms-preview", "join", "ticket")
MAX_SENTENCE = 1500
"""Letters: a message holds 2000, and is cut."""
_BURST, _EVERY_S = 6, 30.0


class Teller(Protocol):
    """Tells the owner at once; ``Messenger``."""

    def tell_now(self, notice: Notice) -> list[str]:
        """Send to every service; return the names of those that took it."""


class DeskCommands:
    """Handlers by command name: see ``handlers``.

    Args:
        orders: The owner's key, and the ledger that tells of each act.
        commands: The owner's handlers.
        reads: The page's handlers, of which ``READS`` are used.
        drafts: Makes the bytes.
        tell: Brings the code.
        texts: The owner's language.
    """

    def __init__(
        self,
        orders: OwnerOrders,
        commands: Mapping[str, Handler],
        reads: Mapping[str, Handler],
        drafts: Drafts,
        tell: Teller,
        texts: Texts,
    ) -> None:
        self._orders = orders
        self._commands, self._reads, self._drafts = commands, reads, drafts
        self._tell, self._texts = tell, texts
        self._codes = Codes(time.monotonic)
        self._limit = PushLimit(_BURST, _EVERY_S, time.monotonic)

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The commands of the desk's socket."""
        names = [*READS, *(name for name in MORE_READS if name in self._reads)]
        return {**{name: self._reads[name] for name in names}, "draft": self._draft, "sign": self._sign}

    def _draft(self, members: Mapping[str, Any], _peer: Peer) -> Reply:
        """Make the bytes of an act, and have its code told beside its sentence."""
        self._limit.demand()
        draft = self._drafts.draft(members)
        if len(draft.sentence) > MAX_SENTENCE:
            raise UsageError("this is too much for one message: do it at the gateway, or in smaller parts")
        code = self._codes.offer(draft)
        told = self._tell.tell_now(code_notice(draft.sentence, code, self._texts))
        if not told:
            self._codes.take_back(draft)
            raise UnavailableError(
                "no notice service took the code of this act, so it cannot be done at the desk",
                "at the gateway it can, with your passphrase; docs/notices.md says how a service is set up",
            )
        return {
            "draft": draft.digest,
            "messages": [{"typ": each.typ, "payload": each.payload.decode()} for each in draft.messages],
            "sentence": draft.sentence, "told": told, "life_s": int(LIFE_S),
            "beside": draft.beside,
        }  # fmt: skip

    def _sign(self, members: Mapping[str, Any], peer: Peer) -> Reply | Iterator[Reply]:
        """Carry a draft out that the owner's key has signed, if its code comes along."""
        draft = self._codes.find(str(members["draft"]))
        signed = [each.encode() for each in read_texts(members, "jws")]
        self._demand_signature(draft, signed)
        self._demand_proof(draft, members["proof"])
        # Before the act: an act that is carried out without an entry would be invisible to the
        # owner.
        self._enter(PageEntry(draft.what, BY, **draft.subject))
        said = {"jws": signed[0].decode()} if len(signed) == 1 else {"signed": [each.decode() for each in signed]}
        return self._commands[draft.command]({**draft.members, **said}, peer)

    def _demand_signature(self, draft: DeskDraft, signed: Sequence[bytes]) -> None:
        """Refuse what is not the owner's signature over the very bytes of the draft, each of them."""
        if not draft.messages or len(signed) != len(draft.messages):
            raise UsageError("every message of the draft is signed, and no other")
        for raw, unsigned in zip(signed, draft.messages, strict=True):
            message = jws.parse(raw, unsigned.typ)
            if message.payload_bytes != unsigned.payload:
                raise DenialError("approval-mismatch", "What was signed is not what was drafted.")
            # Against the pinned key: no key and no `kid` of the message itself is believed.
            jws.verify(message, {self._orders.thumbprint: self._orders.owner})

    def _demand_proof(self, draft: DeskDraft, proof: object) -> None:
        """Refuse unless the owner proves to have read the sentence.

        ``proof`` is ``{"code": …}``. A passkey's assertion over the draft's digest would be another kind of it, and
        would be verified here (WebAuthn level 2, 7.2): nothing else of this module would change.
        """
        code = proof.get("code") if isinstance(proof, Mapping) else None
        if not isinstance(code, str):
            raise UsageError("an act of the desk needs its code")
        try:
            self._codes.redeem(draft, "".join(code.split()))
        except WrongCodeError:
            self._enter(PageEntry("wrong code", BY, **draft.subject))
            raise

    def _enter(self, entry: PageEntry) -> None:
        with self._orders.store.transaction() as connection:
            entries.append(connection, entry, self._orders.clock.utc())
