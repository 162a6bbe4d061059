"""What later checks found out about a backup: `proof.json`, the one file of it that is written again."""

import hashlib
import json
from dataclasses import asdict, dataclass

from iacalls_cli.errors import IacallsError
from iacalls_cli.operations.backup.manifest import MANIFEST, MOST_BYTES, PROOF
from iacalls_cli.safe_files import DamagedFile, Folder, open_folder, parse_json, text_of, time_of

# It names every damaged file.
MOST_PROOF_BYTES = 16 << 20


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


def write_proof(folder: Folder, proof: Proof) -> None:
    """Record what was found out; raises `ForeignFile` for a backup that is not ours."""
    with open_folder(folder) as opened:
        opened.write(PROOF, render(proof))


def read_proof(folder: Folder) -> Proof:
    """What is recorded; raises `IacallsError` when that is missing, changed, or of another manifest."""
    try:
        # Bytes: read as text, another end of line would look the same.
        with open_folder(folder) as opened:
            text = opened.read(PROOF, MOST_PROOF_BYTES)
        proof = parse_proof(parse_json(text)["proof"])
        intact = render(proof).encode() == text
    except FileNotFoundError:
        raise IacallsError(f"{PROOF} is missing") from None
    except (ValueError, TypeError, KeyError):
        intact = False
    if not intact or proof.manifest != manifest_digest(folder):
        raise IacallsError(f"{PROOF} was changed")
    return proof


def manifest_digest(folder: Folder) -> str:
    """The SHA-256 of a backup's manifest; '' where there is none that can be read."""
    try:
        with open_folder(folder) as opened:
            return hashlib.sha256(opened.read(MANIFEST, MOST_BYTES)).hexdigest()
    except (OSError, DamagedFile):
        return ""


def parse_proof(content: dict[str, str]) -> Proof:
    """The record from its JSON; raises ValueError, TypeError or KeyError for another one."""
    proof = Proof(**content)
    for value in asdict(proof).values():
        text_of(value)
    for moment in (proof.verified_at, proof.proven_at):
        if moment:
            time_of(moment)
    return proof


def render(proof: Proof) -> str:
    """The record as text, with a checksum of its own."""
    content = asdict(proof)
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps({"proof": content, "sha256": digest}, indent=1) + "\n"
