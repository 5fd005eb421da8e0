"""The commands of each role in a life of the system, run through a gate that enforces its policy.

Streams are created, fed, read and split, a model is trained, and every query is made: once on
streams that are polled, with a table and a bucket, once on streams that push, without either.

"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config

from tests.servers.aws_local import REGION
from tests.servers.dynamodb import DynamoLocal
from tests.servers.iam_gate import Gate
from tests.servers.iam_policy import Asked, Grant, Policy
from tests.servers.kinesis import KinesisLocal
from tests.servers.ministack import ACCOUNT, Ministack
from tests.servers.sagemaker import SageMakerLocal
from tests.worlds.brief_training import BRIEFLY

ROOT: Final = Path(__file__).resolve().parents[2]
ROLES: Final = (
    "setup", "producer", "worker", "trainer", "mirror", "console", "keys", "serve", "auditor",
)  # fmt: skip
VALUES: Final = {
    "REGION": REGION, "ACCOUNT": ACCOUNT, "NAME": "iam", "TABLE": "iam-table",
    "BUCKET": "iam-bucket", "PREFIX": "offline/store", "MODELS": "models/store",
    "TOPIC": "iam-alerts", "NAMESPACE": "fraud", "KEYS": "iam-keys",
}  # fmt: skip
FAN_OUT: Final = {
    "worker": ("FanOutRegister", "FanOutRead"), "console": ("SeeFanOut",)
}  # fmt: skip
"""Statements that only streams that push need."""
SHARING: Final = {
    "setup": ("MakeTable",),
    "producer": (),
    "worker": ("AggregateOutputs", "JournalAndLeases", "ListOfflineStore", "WriteOfflineStore",
               "ListModels", "ReadModels", "SendAlerts", "SendMetrics"),
    "trainer": (),
    "mirror": ("ListModels", "ReadModels"),
    "console": ("ReadJournal", "ListOfflineStore", "ReadOfflineStore", "ListModels", "ReadModels"),
    "keys": (),
    "serve": (),
    "auditor": (),
}  # fmt: skip
"""Statements that one worker with a folder of its own doesn't need."""

MODELS: Final = f"s3://{VALUES['BUCKET']}/{VALUES['MODELS']}"
STORE: Final = f"s3://{VALUES['BUCKET']}/{VALUES['PREFIX']}"

_READING: Final = (
    ("decisions", "list", "--log"), ("decisions", "tail", "--once"), ("dead", "list"),
    ("top", "--once"),
)  # fmt: skip
NO_LIMITS: Final = {"DI": "0", "HRR": "0", "DPPL": "1", "RD": "1"}

_STREAM: Final = ("stream", "--until-end")
_FEW: Final = ("--policies", "300", "--claims-per-day", "20")
_PACKED: Final = {"KINESIS__AGGREGATE": "true"}

_COMMANDS: Final = """
import json, sys
from cli.__main__ import main
for arguments in json.loads(sys.argv[1]):
    code = main(arguments)
    if code:
        sys.exit(code)
"""
_CLEANING: Final = f"""
import pyarrow as pa
from featurestore.offline.adapters import delta
delta.CLEAN_EVERY = 1
store = delta.OfflineStore("{STORE}")
for version in range(12):
    store.append("things", pa.table({{"a": [version]}}), writer="w", version=version)
"""

_ANSWERING: Final = """
import asyncio, sys
import httpx
from cli.wiring.serving_rights import open_rights
from cli.wiring.workspace import Workspace
from serving.adapters.http.app import build_app
from serving.adapters.http.endpoint import Parts
opened = open_rights(Workspace.open(None, None), "127.0.0.1", print)
app = opened.shield(build_app(Parts(rights=opened.rights)))
headers = {"authorization": f"Bearer {sys.argv[1]}"}
async def ask(path):
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return (await client.post(path, headers=headers)).status_code
allowed = asyncio.run(ask("/v1/scores"))
headers = {}
refused = asyncio.run(ask("/v1/scores"))
opened.close()
sys.exit(0 if (allowed, refused) == (501, 401) else f"{allowed}, {refused}")
"""


def policy_of(role: str, *without: str) -> Policy:
    """Return the policy that we ship for a role, less some statements."""
    path = ROOT / "deploy" / "iam" / f"{role}.json"
    return Policy.read(path, VALUES).without(*without)


@dataclass(frozen=True)
class Ran:
    """The exit of a command, and its output."""

    code: int
    said: str


class Life:
    """Runs commands as a role, each role with a folder of its own, behind a gate."""

    def __init__(self, folder: Path, gate: Gate, **settings: str) -> None:
        self.folder, self.gate = folder, gate
        self._settings = settings

    def run(self, role: str, *commands: Sequence[str], **settings: str) -> Ran:
        """Run commands one after the other, until one fails.

        They run in a process of their own, as in production: in the gate's process, appends to S3
        and the gate came to wait for each other.

        """
        return self._started(role, _COMMANDS, settings, json.dumps(commands))

    def clean_the_log(self, role: str) -> Ran:
        """Append to a table whose log is old enough to be deleted in part, as after a day."""
        self.gate.alter = lambda _, body: re.sub(
            rb"<LastModified>[^<]*", b"<LastModified>2020-01-01T00:00:00.000Z", body
        )
        ran = self._started(role, _CLEANING, {})
        self.gate.alter = lambda _, body: body
        return ran

    def answer(self, role: str, key: str, **settings: str) -> Ran:
        """Open the rights of a server, and let a key be accepted and refused."""
        return self._started(role, _ANSWERING, settings, key)

    def client(self, role: str, service: str) -> Any:
        """Return a client with the rights of a role."""
        return boto3.client(
            service, region_name=REGION, endpoint_url=self.gate.endpoint, aws_access_key_id=role,
            aws_secret_access_key="local", config=Config(retries={"total_max_attempts": 1}),
        )  # fmt: skip

    def _started(self, role: str, code: str, settings: dict[str, str], *more: str) -> Ran:
        ours = {f"CLAIMTRACE_{n}": v for n, v in {**self._settings, **settings}.items()}
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("AWS_", "CLAIMTRACE_"))}
        environment = {
            **kept, "PYTHONPATH": str(ROOT), "AWS_ACCESS_KEY_ID": role,
            "AWS_SECRET_ACCESS_KEY": "local", "AWS_REGION": REGION, "AWS_ALLOW_HTTP": "true",
            "AWS_ENDPOINT_URL": self.gate.endpoint, "CLAIMTRACE_KINESIS__REGION": REGION,
            "CLAIMTRACE_MODELS": str(self.folder / "models"),
            "CLAIMTRACE_SOURCE": f"kinesis://{VALUES['NAME']}",
            "CLAIMTRACE_FOLDER": str(self.folder / role), "NO_COLOR": "1", **ours,
        }  # fmt: skip
        self.folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", code, *more], cwd=self.folder, env=environment,
            capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip
        return Ran(done.returncode, done.stdout + done.stderr)


class Roles:
    """All that was done, and the parts of the policies that were needed for it."""

    def __init__(self, shared: Life, pushed: Life, sagemaker: SageMakerLocal) -> None:
        self.lives = shared, pushed
        self.sagemaker = sagemaker
        self.shared, self.pushed = self.lives
        self.ran: list[tuple[str, Ran]] = []

    def live(self) -> None:
        """Live both lives at once, from the first stream to the proof."""
        with ThreadPoolExecutor() as pool:
            done = [pool.submit(each) for each in (self._learn, self._feed, self._push)]
            for each in done:
                each.result()
        self._decide()
        self._ask()

    def used(self, role: str) -> set[Grant]:
        """Return the rights that a role used."""
        return {grant for life in self.lives for grant in life.gate.used(role)}

    def refused(self, role: str) -> list[Asked]:
        """Return the requests of a role that were refused."""
        return [asked for life in self.lives for asked in life.gate.refused(role)]

    def _note(self, role: str, ran: Ran) -> None:
        self.ran.append((role, ran))

    def _learn(self) -> None:
        """Train a model of a history, whose rows are stored below the same prefix."""
        life = self.shared
        past = {"SOURCE": "local", "OFFLINE": f"{STORE}/past", "FOLDER": str(life.folder / "past")}
        history = ("simulate", *_FEW, "--days", "90", "--fraud", "0.3")
        self._note("worker", life.run("worker", history, _STREAM, **past))
        promote = ("models", "promote", "1", "--reason", "it is the only one")
        # so few claims that a model of them may well be unfair, and fail the gate
        fair = {f"TRAINING__BIAS_LIMITS__{name}": limit for name, limit in NO_LIMITS.items()}
        self._note("trainer", life.run("trainer", ("train",), promote, **past, **fair, **BRIEFLY))
        self._mirror()
        for package in self.sagemaker.packages:  # by somebody in the console
            package["ModelApprovalStatus"] = "Rejected"
        self._mirror()

    def _mirror(self) -> None:
        """Write the registry as model packages: new ones, then approvals that differ from ours."""
        there = {"MIRRORS__SAGEMAKER": STORE, "MIRRORS__SAGEMAKER_GROUP": VALUES["NAME"]}
        self._note("mirror", self.shared.run("mirror", ("models", "mirror", "sagemaker"), **there))

    def _feed(self) -> None:
        """Create streams and a table; put events, some of them twice with other contents."""
        life, feed = self.shared, ("producers", "--rate", "0", *_FEW)
        self._note("setup", life.run("setup", ("topics", "create")))
        self._note("producer", life.run("producer", (*feed, "--days", "10"), **_PACKED))
        self._note("producer", life.run("producer", (*feed, "--days", "2", "--seed", "9")))
        self._keys()

    def _keys(self) -> None:
        """Make keys in a table of their own, show and revoke them, and prove the audit of it."""
        life, table = self.shared, {"SERVE__KEYS": VALUES["KEYS"]}
        add = "keys", "add", "--name", "portal", "--role", "service"
        made = life.run("keys", (*add, "--json"), add, ("keys", "list", "--json"), **table)
        self._note("keys", made)
        first = re.findall(r'"id":"([0-9a-f]{12})"', made.said)[0]
        key = re.findall(r"ct_[0-9a-f]{12}_[a-z2-7]{52}", made.said)[0]
        self._note("serve", life.answer("serve", key, **table))
        self._note("keys", life.run("keys", ("keys", "revoke", first), **table))
        self._note("auditor", life.run("auditor", ("audit", "verify"), ("audit", "show")))

    def _decide(self) -> None:
        """Make decisions, dead letters, drift and alerts; the second start finds its journal."""
        life = self.shared
        self._note("worker", life.run("worker", _STREAM, **_PACKED))
        self._note("worker", life.run("worker", _STREAM))
        self._note("worker", life.clean_the_log("worker"))

    def _ask(self) -> None:
        """Run all commands that query."""
        sql = "offline", "sql", "select count(*) from vectors"
        asking = ("doctor",), ("verify",), ("features", "diff"), sql, *_READING
        self._note("console", self.shared.run("console", *asking))

    def _push(self) -> None:
        """Run one worker with a folder of its own on streams that push."""
        life, pushing = self.pushed, {"KINESIS__FAN_OUT": "w1"}
        self._note("setup", life.run("setup", ("topics", "create")))
        feed = "producers", "--rate", "0", "--days", "1", "--policies", "300"
        self._note("producer", life.run("producer", feed))
        self._note("worker", life.run("worker", _STREAM, **pushing))
        self._note("console", life.run("console", ("doctor",), **pushing))
        more = ("topics", "create", "--partitions", "2")
        self._note("setup", life.run("setup", more, ("topics", "list")))


@contextmanager
def all_roles(
    folder: Path, kinesis: KinesisLocal, dynamodb: DynamoLocal, aws: Ministack
) -> Iterator[Roles]:
    """Put gates with the policies that we ship before the stand-ins; nothing has been done yet."""
    aws.client("s3").create_bucket(
        Bucket=VALUES["BUCKET"], CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    topic = aws.client("sns").create_topic(Name=VALUES["TOPIC"])["TopicArn"]
    rest = dict.fromkeys(("s3", "sns", "monitoring"), aws.endpoint)
    services = {**rest, "kinesis": kinesis.endpoint, "dynamodb": dynamodb.endpoint}
    with (
        SageMakerLocal() as sagemaker,
        Gate({**services, "sagemaker": sagemaker.endpoint}, ACCOUNT) as polled,
        Gate({"kinesis": aws.endpoint}, ACCOUNT) as pushed,
    ):
        for role in ROLES:
            polled.policies[role] = policy_of(role, *FAN_OUT.get(role, ()))
            pushed.policies[role] = policy_of(role, *SHARING[role])
        yield Roles(
            Life(
                folder / "polled", polled, KINESIS__TABLE=VALUES["TABLE"], AWS__ALERTS_TOPIC=topic,
                AWS__METRICS_NAMESPACE=VALUES["NAMESPACE"], AWS__METRICS_EVERY="2s",
                OFFLINE=STORE, MODELS=MODELS,
                TRAINING__MIN_FRAUDS="2", DRIFT__MIN_COUNT="5", DRIFT__ALERT_M="1",
                DRIFT__ALERT_N="1", PARTITIONS="2",
            ),
            Life(folder / "pushed", pushed, PARTITIONS="1"),
            sagemaker,
        )  # fmt: skip
