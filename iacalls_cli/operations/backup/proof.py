"""What later checks found out about a backup: `proof.json`, the one file of it that is written again."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from iacalls_cli.errors import IacallsError
from iacalls_cli.operations.backup.manifest import MANIFEST
from iacalls_cli.operations.files import write_file

PROOF = "proof.json"


@dataclass(frozen=True)
class Proof:
    """When a backup was last read whole and found good, and when it was last restored and found good.

    `manifest` is the SHA-256 of the manifest that was looked at; times are UTC or ''. `damage` is
    what the last check found wrong, or ''; `failure` is why the last rehearsal could not be made,
    which may be the scratch server's fault.
    """

    manifest: str
    verified_at: str = ""
    proven_at: str = ""
    proven_on: str = ""
    damage: str = ""
    failure: str = ""


def write_proof(folder: Path, proof: Proof) -> None:
    """Record what was found out."""
    write_file(folder / PROOF, render(proof))


def read_proof(folder: Path) -> Proof:
    """What is recorded; raises `IacallsError` when that is missing, changed, or of another manifest."""
    try:
        # Bytes: read as text, another end of line would look the same.
        text = (folder / PROOF).read_bytes()
        proof = Proof(**json.loads(text)["proof"])
        intact = render(proof).encode() == text
    except FileNotFoundError:
        raise IacallsError(f"{PROOF} is missing") from None
    except (ValueError, TypeError, KeyError):
        intact = False
    if not intact or proof.manifest != manifest_digest(folder):
        raise IacallsError(f"{PROOF} was changed")
    return proof


def manifest_digest(folder: Path) -> str:
    """The SHA-256 of a backup's manifest; '' where there is none that can be read."""
    try:
        return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    except OSError:
        return ""


def render(proof: Proof) -> str:
    """The record as text, with a checksum of its own."""
    content = asdict(proof)
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps({"proof": content, "sha256": digest}, indent=1) + "\n"
