"""Each role's policy allows all that its commands do on AWS, and nothing that none of them does."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import botocore.session
import pytest
from botocore import xform_name
from botocore.exceptions import ClientError

from claimtrace.errors import ConfigError
from tests.servers.dynamodb import DynamoLocal
from tests.servers.iam_policy import Grant, Policy, filled
from tests.servers.kinesis import KinesisLocal
from tests.servers.ministack import Ministack
from tests.worlds.iam_roles import ROLES, ROOT, VALUES, Roles, all_roles, policy_of

POLICIES = ROOT / "deploy" / "iam"
PAGE = ROOT / "docs" / "iam.md"
EXCUSED: dict[Grant, str] = {}
"""What a policy allows and no run here uses, with the reason."""
SERVICES = {name: name for name in ("kinesis", "dynamodb", "sns", "cloudwatch", "sagemaker")}
WITHOUT_RESOURCES = {
    "cloudwatch:PutMetricData", "sagemaker:ListModelPackageGroups", "sagemaker:ListModelPackages",
}  # fmt: skip
"""Actions that know no resources."""
AS_ITS_PARTS = {
    "dynamodb:TransactWriteItems": "dynamodb:PutItem",
    "sns:PublishBatch": "sns:Publish",
}
"""Calls that IAM knows by another name."""
MOST_CHARACTERS = 6_144
"""Of a managed policy, without white space."""


@pytest.fixture(scope="module")
def roles(
    tmp_path_factory: pytest.TempPathFactory,
    kinesis: KinesisLocal,
    dynamodb: DynamoLocal,
    ministack: Ministack,
) -> Iterator[Roles]:
    with all_roles(tmp_path_factory.mktemp("roles"), kinesis, dynamodb, ministack) as roles:
        roles.live()
        yield roles


def test_every_command_does_its_work(roles: Roles) -> None:
    for role, ran in roles.ran:
        assert ran.code == 0, f"{role}: {ran.said}"
    assert [life.gate.faults for life in roles.lives] == [[], []]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_all_that_it_does(roles: Roles, role: str) -> None:
    assert roles.used(role)
    assert roles.refused(role) == []


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_nothing_that_it_never_does(roles: Roles, role: str) -> None:
    """Statement by statement, action by action, stream by stream."""
    assert policy_of(role).grants() - roles.used(role) - set(EXCUSED) == set()


@pytest.mark.parametrize(
    ("role", "service", "operation", "arguments"),
    [
        ("producer", "kinesis", "put_records", {
            "StreamName": "iam.claims.decisions", "Records": [{"Data": b"{}", "PartitionKey": "k"}],
        }),
        ("producer", "kinesis", "get_shard_iterator", {
            "StreamName": "iam.claims.filed", "ShardId": "shardId-000000000000",
            "ShardIteratorType": "LATEST",
        }),
        ("producer", "kinesis", "put_records", {
            "StreamName": "other.claims.filed", "Records": [{"Data": b"{}", "PartitionKey": "k"}],
        }),
        ("worker", "kinesis", "delete_stream", {"StreamName": "iam.claims.filed"}),
        ("worker", "dynamodb", "delete_table", {"TableName": "iam-table"}),
        ("worker", "s3", "get_object", {"Bucket": "iam-bucket", "Key": "elsewhere"}),
        ("worker", "s3", "list_objects_v2", {"Bucket": "iam-bucket", "Prefix": "offline/other/"}),
        ("worker", "cloudwatch", "put_metric_data", {
            "Namespace": "AWS/Kinesis", "MetricData": [{"MetricName": "a", "Value": 1.0}],
        }),
        ("worker", "sns", "subscribe", {
            "TopicArn": "arn:aws:sns:eu-central-1:000000000000:iam-alerts", "Protocol": "https",
        }),
        ("trainer", "s3", "put_object", {
            "Bucket": "iam-bucket", "Key": "offline/store/labels/forged", "Body": b"",
        }),
        ("worker", "s3", "put_object", {
            "Bucket": "iam-bucket", "Key": "models/store/auto_claims/approvals/000000000009.json",
            "Body": b"",
        }),
        ("trainer", "s3", "delete_object", {
            "Bucket": "iam-bucket", "Key": "models/store/auto_claims/approvals/000000000001.json",
        }),
        ("trainer", "kinesis", "list_shards", {"StreamName": "iam.claims.filed"}),
        ("mirror", "sagemaker", "create_model_package_group", {"ModelPackageGroupName": "other"}),
        ("mirror", "s3", "get_object", {"Bucket": "iam-bucket", "Key": "offline/store/labels"}),
        ("console", "dynamodb", "delete_item", {
            "TableName": "iam-table", "Key": {"pk": {"S": "plan"}, "sk": {"S": "1"}},
        }),
        ("console", "s3", "delete_object", {"Bucket": "iam-bucket", "Key": "offline/store/labels"}),
        ("setup", "kinesis", "delete_stream", {"StreamName": "iam.claims.filed"}),
        ("keys", "dynamodb", "delete_item", {
            "TableName": "iam-keys", "Key": {"pk": {"S": "key"}, "sk": {"S": "1"}},
        }),
        ("keys", "dynamodb", "get_item", {
            "TableName": "iam-table", "Key": {"pk": {"S": "plan"}, "sk": {"S": "1"}},
        }),
        ("keys", "kinesis", "put_records", {
            "StreamName": "iam.claims.filed", "Records": [{"Data": b"{}", "PartitionKey": "k"}],
        }),
        ("auditor", "kinesis", "put_records", {
            "StreamName": "iam.claims.audit", "Records": [{"Data": b"{}", "PartitionKey": "k"}],
        }),
        ("worker", "kinesis", "put_records", {
            "StreamName": "iam.claims.audit", "Records": [{"Data": b"{}", "PartitionKey": "k"}],
        }),
        ("console", "kinesis", "get_shard_iterator", {
            "StreamName": "iam.claims.audit", "ShardId": "shardId-000000000000",
            "ShardIteratorType": "LATEST",
        }),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_a_role_may_not_do_is_refused(
    roles: Roles, role: str, service: str, operation: str, arguments: dict[str, object]
) -> None:
    gate = roles.shared.gate
    gate.policies["tried"] = policy_of(role)
    with pytest.raises(ClientError) as refused:
        getattr(roles.shared.client("tried", service), operation)(**arguments)
    assert "not authorized to perform" in str(refused.value)


@pytest.mark.parametrize(
    ("role", "sid", "command", "action"),
    [
        ("worker", "ReadInputs", "stream", "kinesis:DescribeStreamSummary"),
        ("worker", "JournalAndLeases", "stream", "dynamodb:PutItem"),
        ("worker", "WriteOfflineStore", "stream", "s3:PutObject"),
        ("producer", "PutInputs", "producers", "kinesis:PutRecords"),
        ("console", "ReadJournal", "verify", "dynamodb:Query"),
    ],
)
def test_who_lacks_a_right_is_told_which(
    roles: Roles, role: str, sid: str, command: str, action: str
) -> None:
    roles.shared.gate.policies["poor"] = policy_of(role, sid)
    bounds = {"stream": ("--until-end",), "producers": ("--days", "1", "--rate", "0")}
    ran = roles.shared.run("poor", (command, *bounds.get(command, ())))
    assert ran.code == ConfigError.exit_code, ran.said
    assert action in "".join(ran.said.split())
    assert "fix" in ran.said
    assert "Traceback" not in ran.said
    assert "fault of ours" not in ran.said


def calls_in(source: str, names: dict[str, str]) -> set[str]:
    """The actions of all calls on something that is called a client."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner, called = node.func.value, node.func.attr
        owned = getattr(owner, "attr", getattr(owner, "id", ""))
        if called == "get_paginator" and isinstance(node.args[0], ast.Constant):
            called = str(node.args[0].value)
        if owned.endswith("client") and called in names:
            found.add(AS_ITS_PARTS.get(names[called], names[called]))
    return found


def operations() -> dict[str, str]:
    """The action of each method that a client of AWS has."""
    session = botocore.session.get_session()
    return {
        xform_name(name): f"{action}:{name}"
        for service, action in SERVICES.items()
        for name in session.get_service_model(service).operation_names
    }


def test_no_call_in_the_code_was_forgotten() -> None:
    names, found = operations(), set[str]()
    for room in ("claimtrace", "featurestore", "models", "producers", "stream", "training"):
        for path in sorted((ROOT / room).rglob("*.py")):
            if "boto" in (source := path.read_text()) or "aws_client" in source:
                found |= calls_in(source, names)
    allowed = {action for role in ROLES for action in policy_of(role).actions()}
    assert len(found) > 15
    assert found == {action for action in allowed if not action.startswith("s3:")}


def test_a_forgotten_call_is_found() -> None:
    source = "self._client.merge_shards()\nself.client.get_paginator('list_streams')\nlog.query()"
    assert calls_in(source, operations()) == {"kinesis:MergeShards", "kinesis:ListStreams"}


@pytest.mark.parametrize("role", ROLES)
def test_a_policy_is_one_that_aws_takes(role: str) -> None:
    document = json.loads((POLICIES / f"{role}.json").read_text())
    sids = [each["Sid"] for each in document["Statement"]]
    assert len(set(sids)) == len(sids)
    assert all(re.fullmatch(r"[A-Za-z0-9]+", sid) for sid in sids)
    assert len(json.dumps(document, separators=(",", ":"))) < MOST_CHARACTERS
    for grant in Policy.of(document).grants():
        assert "*" not in grant.action
        if grant.action not in WITHOUT_RESOURCES:
            assert "*" not in grant.resource.removesuffix("/*")


def test_all_policies_are_tried() -> None:
    assert sorted(path.stem for path in POLICIES.glob("*.json")) == sorted(ROLES)


def table_of(role: str) -> str:
    """The rows of a role in the documentation."""
    document = json.loads((POLICIES / f"{role}.json").read_text())
    rows = []
    for place, each in enumerate(document["Statement"]):
        told = each["Action"] if isinstance(each["Action"], list) else [each["Action"]]
        service = told[0].partition(":")[0]
        actions = ", ".join(f"`{action.partition(':')[2]}`" for action in told)
        rows.append(
            f"| {f'**{role}**' if not place else ''} | `{each['Sid']}` | {service} | {actions} |"
        )
    return "\n".join(rows)


@pytest.mark.parametrize("role", ROLES)
def test_the_page_says_what_the_policies_say(role: str) -> None:
    table = table_of(role)
    assert table in PAGE.read_text(), f"docs/iam.md should have:\n{table}"


def test_the_page_names_each_statement_that_may_be_left_out() -> None:
    """A statement is either for all, or the page says who needs it."""
    needed = {"PutInputs", "ReadInputs", "PutOutputs", "SeeStreams", "ReadInputsAndDecisions",
              "MakeStreams", "SeePackages", "MakePackages", "ApprovePackages",
              "WriteMirror", "PutAudit", "ReadAudit"}  # fmt: skip
    rows = PAGE.read_text().partition("## What may be left out")[2].partition("\n## ")[0]
    sids = {grant.sid for role in ROLES for grant in policy_of(role).grants()}
    assert set(re.findall(r"`([A-Z][A-Za-z]+)`", rows)) & sids == sids - needed


@pytest.mark.parametrize("role", ROLES)
def test_the_line_on_the_page_fills_every_placeholder(role: str, tmp_path: Path) -> None:
    (line,) = re.findall(r"```sh\n(sed .*?)```", PAGE.read_text(), re.DOTALL)
    values = {name: value for _, name, value in re.findall(r"s([/=])([A-Z]+)\1(.+?)\1g", line)}
    assert set(values) == set(VALUES)
    copied = shutil.copytree(POLICIES, tmp_path / "deploy" / "iam")
    subprocess.run(["sh", "-ec", line.replace("worker", role)], cwd=tmp_path, check=True)
    wanted = filled((copied / f"{role}.json").read_text(), values)
    assert (tmp_path / f"{role}.json").read_text() == wanted
    assert not re.search(r"\b[A-Z]{4,}\b", wanted)
