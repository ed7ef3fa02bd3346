"""Keys for tests: a server's, its clients', and the list of those that are allowed."""

from pathlib import Path

from earmark.contracts.curve import CurveClient, CurveServer, make_key_pair, read_public_key
from earmark.links.allowed import Client, change_allow_list
from earmark.telemetry.metrics import REGISTRY


def refused(reason: str) -> float:
    """How often this process refused something for ``reason``."""
    return REGISTRY.get_sample_value("earmark_refused_records_total", {"reason": reason}) or 0.0


class Keys:
    """Files in a folder, which starts with nobody allowed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        key, self._server_public = make_key_pair(folder, "server")
        self.server = CurveServer(key_file=key, allow_file=folder / "allow.yaml")
        change_allow_list(self.server.allow_file, lambda clients: None)

    def client(self, name: str, *, streams: tuple[str, ...] = (), events: bool = False) -> CurveClient:
        """A new client, allowed as told."""
        key, _ = make_key_pair(self.folder, name)
        if streams or events:
            self.allow(name, streams=streams, events=events)
        return CurveClient(key_file=key, server_key_file=self._server_public)

    def allow(self, name: str, *, streams: tuple[str, ...] = (), events: bool = False) -> None:
        """Allow a client that there is."""
        public = read_public_key(self.folder / f"{name}.pub").decode()
        client = Client(key=public, streams=streams, events=events)
        change_allow_list(self.server.allow_file, lambda clients: clients.update({name: client}))

    def revoke(self, name: str) -> None:
        """Take all rights away."""
        change_allow_list(self.server.allow_file, lambda clients: clients.pop(name) and None)
