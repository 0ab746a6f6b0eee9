"""An RTCC's state, opened: its tables behind one name each."""

from edge_agent.rtcc.state.database import CityDatabase
from edge_agent.rtcc.state.drafts import DraftDocuments
from edge_agent.rtcc.state.exchanges import Exchanges
from edge_agent.rtcc.state.gateways import Gateways
from edge_agent.rtcc.state.inbound import InboundMessages
from edge_agent.rtcc.state.readers import Readers
from edge_agent.rtcc.state.sent_requests import Requests


class CityState:
    """The tables of one database."""

    def __init__(self, database: CityDatabase) -> None:
        self.database = database
        self.gateways = Gateways(database)
        self.requests = Requests(database)
        self.drafts = DraftDocuments(database)
        self.exchanges = Exchanges(database)
        self.readers = Readers(database)
        self.inbound = InboundMessages(database)
