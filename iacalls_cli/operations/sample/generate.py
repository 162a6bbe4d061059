"""The rows of sample data: the same seed, scale and day always give the same ones."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from random import Random
from typing import Any

from iacalls_cli.operations.sample import words

Row = Sequence[Any]
HISTORY_DAYS = 400
CHUNK = 1000
# Weights of what happens to a call whose batch is over, and in one that is running.
CALL_OUTCOMES = {"completed": 62, "failed": 13, "no_answer": 13, "busy": 6, "finished": 3, "ended": 2, "cancelled": 1}
CALL_STATES = {"completed": 30, "pending": 40, "initiated": 10, "ringing": 10, "in_progress": 10}
ENDED_WELL = ("completed", "finished", "ended")
WHATSAPP_STATUSES = {"sent": 45, "delivered": 15, "read": 15, "replied": 12, "failed": 8, "pending": 5}
CLIENT_STATUSES = {"pending": 40, "contacted": 30, "completed": 25, "cancelled": 5}


@dataclass(frozen=True)
class Amounts:
    """How many rows each table gets. Scale 1 is for a demonstration, 1000 for measuring."""

    users: int
    clients: int
    groups: int
    client_groups: int
    uploaded_files: int
    gcp_documents: int
    batch_calls: int
    call_records: int
    whatsapp_conversations: int


def amounts_of(scale: float) -> Amounts:
    """The amounts at a scale; 1000 gives 5,000,000 calls of 200,000 clients."""
    groups = max(12, round(scale / 2))
    clients = max(groups, round(200 * scale))
    return Amounts(
        users=8,
        clients=clients,
        groups=groups,
        client_groups=2 * clients,
        uploaded_files=max(6, round(scale / 10)),
        gcp_documents=max(6, round(scale / 10)),
        batch_calls=max(24, round(2 * scale)),
        call_records=max(100, round(5000 * scale)),
        whatsapp_conversations=max(50, round(1000 * scale)),
    )


@dataclass(frozen=True)
class Sample:
    """A set of sample data. `anchor` is the moment that counts as now, without a zone."""

    amounts: Amounts
    seed: int
    anchor: datetime

    def random(self, table: str) -> Random:
        """A generator for one table, so that tables do not depend on each other."""
        return Random(f"{self.seed}/{table}")

    def moments(self, random: Random) -> Callable[[], datetime]:
        """Moments in the past: most of them recent, some more than a year old."""
        return lambda: self.anchor - timedelta(seconds=int(HISTORY_DAYS * 86_400 * random.random() ** 1.5))

    def users(self) -> Iterator[Row]:
        """Users 2 to 9; user 1 is the administrator that `db init` made."""
        random = self.random("users")
        for number in range(2, self.amounts.users + 2):
            first, last = random.choice(words.FIRST_NAMES), random.choice(words.LAST_NAMES)
            role = "admin" if number == 2 else random.choice(("user", "user", "agent"))
            expires = self.anchor + timedelta(days=random.randrange(-20, 300)) if number % 3 == 0 else None
            made = self.anchor - timedelta(days=HISTORY_DAYS + number)
            # No password: a text that is no hash lets nobody in.
            yield (number, f"usuario{number}", f"usuario{number}@example.com", "!", first, last, role, number != 5,
                   expires, f"agent_{random.getrandbits(64):016x}", made, made)  # fmt: skip

    def clients(self) -> Iterator[Row]:
        """Clients with Colombian mobile numbers; a few share one, as imports do."""
        random, moment = self.random("clients"), self.moments(self.random("clients/time"))
        status = weighted(random, CLIENT_STATUSES)
        for number in range(1, self.amounts.clients + 1):
            name, when = client_name(number), moment()
            phone = phone_number(number if number % 50 else max(1, number - 1))
            email = f"cliente{number}@example.com" if number % 3 else None
            metadata = json.dumps({"ciudad": random.choice(words.CITIES), "fila": number}, ensure_ascii=False)
            yield (number, f"EXT-{number:07d}", name, phone, email, f"Calle {number % 180} # {number % 90}-15",
                   random.choice(words.CATEGORIES), next(status), metadata, number % 25 != 0, when, when)  # fmt: skip

    def groups(self) -> Iterator[Row]:
        """Campaigns, the counters of their last batch on them."""
        random = self.random("groups")
        each = self.amounts.call_records // self.amounts.batch_calls
        for number in range(1, self.amounts.groups + 1):
            campaign = words.CAMPAIGNS[number % len(words.CAMPAIGNS)]
            status = ("none", "pending", "in_progress", "completed", "completed", "failed")[number % 6]
            done = 0 if status in ("none", "pending") else int(each * random.uniform(0.4, 0.8))
            started = self.anchor - timedelta(days=number % 90, hours=3)
            batch = number if status not in ("none", "pending") else None
            yield (number, f"{campaign} {number:03d}", f"Campaña de {campaign.lower()}", "Sea amable y breve.",
                   number % 15 != 0, 1 + number % 8, str(number), batch and batch_id(batch), status,
                   started if done else None, started + timedelta(hours=2) if status == "completed" else None,
                   each if done else 0, done, int(done * 0.2), "¡Hola! ¿Cómo está?", started - timedelta(days=9),
                   started)  # fmt: skip

    def client_groups(self) -> Iterator[Row]:
        """Every client in two groups."""
        groups, moment = self.amounts.groups, self.moments(self.random("client_groups"))
        for number in range(self.amounts.clients):
            home = number % groups
            other = (home + 1 + (number // groups) % (groups - 1)) % groups
            for offset, group in enumerate((home, other), 1):
                yield 2 * number + offset, number + 1, group + 1, 1 + number % 8, moment()

    def uploaded_files(self) -> Iterator[Row]:
        """Spreadsheets of clients."""
        moment = self.moments(self.random("uploaded_files"))
        for number in range(1, self.amounts.uploaded_files + 1):
            when, name = moment(), f"clientes-{number:04d}.xlsx"
            yield (number, f"Clientes año {number}.xlsx", name, f"gs://example/{name}", 20_000 + number,
                   "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", 1 + number % 8,
                   1 + number % self.amounts.groups, when, when)  # fmt: skip

    def gcp_documents(self) -> Iterator[Row]:
        """Documents of campaigns."""
        moment = self.moments(self.random("gcp_documents"))
        for number in range(1, self.amounts.gcp_documents + 1):
            when, name = moment(), f"guion-{number:04d}.pdf"
            kind = ("general", "original_upload", "processed_excel")[number % 3]
            yield (number, name, f"Guión de campaña {number}.pdf", f"gs://example/{name}", 90_000 + number,
                   "application/pdf", kind, 1 + number % self.amounts.groups, 1 + number % 8, when, when)  # fmt: skip

    def batch_calls(self) -> Iterator[Row]:
        """Batches, the later ones nearer to now; the last few still run."""
        each, random = self.amounts.call_records // self.amounts.batch_calls, self.random("batch_calls")
        for number in range(1, self.amounts.batch_calls + 1):
            started, status = self.batch_start(number), self.batch_status(number)
            done = 0 if status == "pending" else int(each * random.uniform(0.5, 0.75))
            completed = started + timedelta(minutes=random.randrange(20, 240)) if status == "completed" else None
            group = self.group_of_batch(number)
            yield (number, batch_id(number), group, 1 + number % 8, f"agent_{number % 5}",
                   f"Lote {number} de {words.CAMPAIGNS[group % len(words.CAMPAIGNS)].lower()}", status, each, done,
                   int(done * 0.2), None if status == "pending" else started, completed, started, started)  # fmt: skip

    def call_records(self) -> Iterator[Row]:
        """Calls, batch after batch, to clients of the batch's group."""
        random = self.random("call_records")
        each = self.amounts.call_records // self.amounts.batch_calls
        over, running = weighted(random, CALL_OUTCOMES), weighted(random, CALL_STATES)
        groups, clients = self.amounts.groups, self.amounts.clients
        members = max(1, clients // groups)
        # A few hundred conversations, drawn from again and again, cost no time at five million calls.
        talks = [talk(random, number) for number in range(500)]
        for number in range(1, self.amounts.call_records + 1):
            batch = min((number - 1) // each + 1, self.amounts.batch_calls)
            status = next(running if self.batch_status(batch) in ("in_progress", "pending") else over)
            client = self.group_of_batch(batch) + groups * int(random.random() * members)
            client = min(client, clients)
            made = self.batch_start(batch) + timedelta(seconds=number % 3600)
            talked = status in ENDED_WELL
            length = int(random.random() * 290) + 10 if talked else 0 if status == "failed" else None
            summary, transcript = talks[int(random.random() * 500)] if talked else (None, None)
            ended = made + timedelta(seconds=(length or 0) + 5) if talked or length == 0 else None
            yield (number, batch, client if number % 400 else None, phone_number(client), f"rcpt_{number:010d}",
                   f"conv_{number * 2654435761 % 2**32:08x}{number:08x}" if talked else None, status, length, summary,
                   transcript, made if status not in ("pending", "cancelled") else None, ended, made,
                   ended or made)  # fmt: skip

    def whatsapp_conversations(self) -> Iterator[Row]:
        """WhatsApp messages that follow calls up."""
        random, moment = self.random("whatsapp"), self.moments(self.random("whatsapp/time"))
        status = weighted(random, WHATSAPP_STATUSES)
        for number in range(1, self.amounts.whatsapp_conversations + 1):
            client, state, when = 1 + int(random.random() * self.amounts.clients), next(status), moment()
            name = client_name(client)
            sent = {"type": "text", "body": random.choice(words.MESSAGES).format(name=name)}
            received = {"type": "text", "body": random.choice(words.ANSWERS)} if state == "replied" else None
            yield (number, phone_number(client), name, random.choice(words.SUMMARIES),
                   json.dumps(sent, ensure_ascii=False), received and json.dumps(received, ensure_ascii=False), state,
                   f"SM{number:032x}" if state not in ("pending", "failed") else None,
                   random.choice(words.ERRORS) if state == "failed" else None,
                   when if state not in ("pending", "failed") else None,
                   when + timedelta(minutes=7) if state == "replied" else None, when, when)  # fmt: skip

    def batch_start(self, batch: int) -> datetime:
        """When a batch started: the more recent the more of them, the last one an hour ago."""
        age = HISTORY_DAYS * ((self.amounts.batch_calls - batch) / self.amounts.batch_calls) ** 2
        return self.anchor - timedelta(hours=1, minutes=int(age * 1440))

    def batch_status(self, batch: int) -> str:
        """The state of a batch."""
        left = self.amounts.batch_calls - batch
        if left < 3:
            return ("pending", "in_progress", "in_progress")[left]
        return "failed" if batch % 17 == 0 else "cancelled" if batch % 29 == 0 else "completed"

    def group_of_batch(self, batch: int) -> int:
        """The group a batch calls."""
        return (batch * 7) % self.amounts.groups + 1


def weighted(random: Random, weights: dict[str, int]) -> Iterator[str]:
    """An endless supply of keys, each as often as its weight says."""
    names, bounds = list(weights), list(accumulate(weights.values()))
    while True:
        yield from random.choices(names, cum_weights=bounds, k=CHUNK)


def client_name(number: int) -> str:
    """The name of a client, always the same one."""
    first = words.FIRST_NAMES[number * 7 % len(words.FIRST_NAMES)]
    last = words.LAST_NAMES[number * 13 % len(words.LAST_NAMES)]
    return f"{first} {last} {words.LAST_NAMES[number * 5 % len(words.LAST_NAMES)]}"


def phone_number(number: int) -> str:
    """A Colombian mobile number in a range that is not given out."""
    return f"+57300{number % 10_000_000:07d}"


def batch_id(number: int) -> str:
    """A batch's ElevenLabs id."""
    return f"btcal_{number:08d}"


def talk(random: Random, number: int) -> tuple[str, str]:
    """A summary, and a transcript as the application stores it: an array of role and message."""
    greeting = random.choice(words.GREETINGS).format(name=client_name(number))
    transcript = [
        {"role": "agent", "message": greeting, "time_in_call_secs": 0},
        {"role": "user", "message": random.choice(words.REPLIES), "time_in_call_secs": random.randrange(2, 9)},
    ]
    return random.choice(words.SUMMARIES), json.dumps(transcript, ensure_ascii=False)
