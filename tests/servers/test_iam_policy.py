"""The gate decides as IAM does: the permissions of a request, and the decision of a policy."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from tests.servers.iam_policy import Asked, Grant, Policy, filled
from tests.servers.iam_requests import Asking, Request

STREAM = "arn:aws:kinesis:here:1:stream/prod.claims.filed"
LIKE = {"StringLike": {"s3:prefix": ["store/*"]}}
IF_THERE = {"StringLikeIfExists": {"s3:prefix": "store/*"}}
EQUAL = {"StringEquals": {"cloudwatch:namespace": ["fraud", "claims"]}}


def statement(**more: Any) -> dict[str, Any]:
    return {"Sid": "One", "Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*", **more}


def policy(*statements: dict[str, Any]) -> Policy:
    return Policy.of({"Version": "2012-10-17", "Statement": list(statements)})


@pytest.mark.parametrize(
    ("given", "action", "resource", "context", "allowed"),
    [
        ({"Action": "kinesis:GetRecords"}, "kinesis:GetRecords", STREAM, {}, True),
        ({"Action": "kinesis:getrecords"}, "kinesis:GetRecords", STREAM, {}, True),
        ({"Action": "kinesis:GetRecords"}, "kinesis:GetRecord", STREAM, {}, False),
        ({"Action": ["s3:A", "kinesis:Get*"]}, "kinesis:GetRecords", STREAM, {}, True),
        ({"Action": "kinesis:Get?ecords"}, "kinesis:GetRecords", STREAM, {}, True),
        ({"Action": "*", "Resource": STREAM}, "kinesis:GetRecords", STREAM, {}, True),
        ({"Action": "*", "Resource": STREAM}, "kinesis:GetRecords", STREAM + "2", {}, False),
        ({"Action": "*", "Resource": STREAM}, "kinesis:GetRecords", STREAM.upper(), {}, False),
        ({"Action": "*", "Resource": STREAM}, "s3:A", STREAM.replace(".", "x"), {}, False),
        ({"Action": "*", "Resource": STREAM + "/consumer/*"}, "s3:A", STREAM, {}, False),
        ({"Action": "*", "Resource": "b/p/*"}, "s3:A", "b/p/q/r", {}, True),
        ({"Condition": LIKE}, "s3:ListBucket", "b", {"s3:prefix": "store/x"}, True),
        ({"Condition": LIKE}, "s3:ListBucket", "b", {"s3:prefix": "stores"}, False),
        ({"Condition": LIKE}, "s3:ListBucket", "b", {}, False),
        ({"Condition": IF_THERE}, "s3:ListBucket", "b", {}, True),
        ({"Condition": IF_THERE}, "s3:ListBucket", "b", {"s3:prefix": ""}, False),
        ({"Condition": EQUAL}, "s3:ListBucket", "b", {"cloudwatch:namespace": "claims"}, True),
        ({"Condition": EQUAL}, "s3:ListBucket", "b", {"cloudwatch:namespace": "fraud2"}, False),
        ({"Condition": LIKE | EQUAL}, "s3:ListBucket", "b", {"s3:prefix": "store/"}, False),
    ],
)  # fmt: skip
def test_a_statement_allows(
    given: dict[str, Any], action: str, resource: str, context: dict[str, str], allowed: bool
) -> None:
    asked = Asked(action, resource, context)
    assert bool(policy(statement(**given)).decide(asked)) is allowed
    assert not policy().decide(asked)
    denied = policy(statement(Action="*"), statement(**given, Effect="Deny"))
    assert bool(denied.decide(asked)) is not allowed


@pytest.mark.parametrize(
    "given",
    [
        {"NotAction": "s3:*"}, {"Principal": "*"}, {"Effect": "Perhaps"},
        {"Condition": {"Bool": {"aws:SecureTransport": "true"}}},
    ],
)  # fmt: skip
def test_what_it_does_not_know_is_no_guess(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="unknown"):
        policy(statement(**given))


def test_the_older_version_is_refused() -> None:
    with pytest.raises(ValueError, match="version 2008"):
        Policy.of({"Version": "2008-10-17", "Statement": []})


def test_it_names_what_allowed_something() -> None:
    found = policy(statement(Action=["s3:A", "s3:B"], Resource=["x", "y*"]))
    assert found.decide(Asked("s3:B", "yes")) == [Grant("One", "s3:B", "y*")]
    assert len(found.grants()) == 4
    assert found.without("One").grants() == set()


def test_placeholders_are_whole_words() -> None:
    values = {"NAME": "prod", "NAMESPACE": "fraud"}
    assert filled("NAME.x NAMESPACE TABLENAME", values) == "prod.x fraud TABLENAME"


def a_request(
    service: str, body: bytes | dict[str, Any] = b"", target: str = "/", method: str = "POST",
    **headers: str,
) -> Request:  # fmt: skip
    signed = f"AWS4-HMAC-SHA256 Credential=worker/20260101/here/{service}/aws4_request, Signed"
    content = json.dumps(body).encode() if isinstance(body, dict) else body
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(method, target, {"authorization": signed, **named}, content)


def asked_by(request: Request, asking: Asking | None = None) -> list[tuple[str, str]]:
    return [(each.action, each.resource) for each in (asking or Asking("1")).of(request)]


@pytest.mark.parametrize(
    ("method", "target", "actions"),
    [
        ("GET", "/b?list-type=2&prefix=p%2F", ["ListBucket"]),
        ("HEAD", "/b", ["ListBucket"]),
        ("GET", "/b/p/k", ["GetObject"]),
        ("HEAD", "/b/p/k", ["GetObject"]),
        ("PUT", "/b/p/k", ["PutObject"]),
        ("POST", "/b/p/k?uploads", ["PutObject"]),
        ("PUT", "/b/p/k?partNumber=1&uploadId=u", ["PutObject"]),
        ("POST", "/b/p/k?uploadId=u", ["PutObject"]),
        ("DELETE", "/b/p/k?uploadId=u", ["AbortMultipartUpload"]),
        ("GET", "/b/p/k?uploadId=u", ["ListMultipartUploadParts"]),
        ("DELETE", "/b/p/k", ["DeleteObject"]),
        ("POST", "/b?delete", ["DeleteObject", "DeleteObject"]),
        ("GET", "/", ["ListAllMyBuckets"]),
        ("GET", "/b?location", ["GetBucketLocation"]),
        ("DELETE", "/b", ["DeleteBucket"]),
    ],
)
def test_s3_is_asked_by_method_and_path(method: str, target: str, actions: list[str]) -> None:
    keys = b"<Delete><Object><Key>p/1</Key></Object><Object><Key>p/2</Key></Object></Delete>"
    found = asked_by(a_request("s3", keys, target, method))
    assert [action for action, _ in found] == [f"s3:{action}" for action in actions]


def test_a_copy_reads_too() -> None:
    request = a_request("s3", target="/b/k", method="PUT", x_amz_copy_source="/a/k%201")
    assert asked_by(request)[1] == ("s3:GetObject", "arn:aws:s3:::a/k 1")


def test_an_iterator_is_of_the_stream_that_it_came_from() -> None:
    asking = Asking("1")
    begun = a_request("kinesis", {"StreamName": "prod.claims.filed"},
                      x_amz_target="Kinesis_20131202.GetShardIterator")  # fmt: skip
    asking.remember(begun, b'{"ShardIterator": "one"}')
    for came, next_one in (("one", "two"), ("two", None)):
        read = a_request("kinesis", {"ShardIterator": came}, x_amz_target="Kinesis.GetRecords")
        assert asked_by(read, asking) == [("kinesis:GetRecords", STREAM)]
        asking.remember(read, json.dumps({"NextShardIterator": next_one}).encode())
    unknown = a_request("kinesis", {"NextToken": "x"}, x_amz_target="Kinesis.ListShards")
    assert asked_by(unknown, asking) == [("kinesis:ListShards", "*")]


def test_a_consumer_is_a_resource_of_its_own() -> None:
    seen = a_request("kinesis", {"StreamARN": STREAM, "ConsumerName": "w1"},
                     x_amz_target="Kinesis.DescribeStreamConsumer")  # fmt: skip
    assert asked_by(seen) == [("kinesis:DescribeStreamConsumer", f"{STREAM}/consumer/w1:0")]


def test_a_transaction_asks_for_its_parts() -> None:
    parts = [{"Put": {"TableName": "t"}}, {"ConditionCheck": {"TableName": "u"}}]
    request = a_request("dynamodb", {"TransactItems": parts}, x_amz_target="D.TransactWriteItems")
    table = "arn:aws:dynamodb:here:1:table/"
    wanted = [("dynamodb:PutItem", f"{table}t"), ("dynamodb:ConditionCheckItem", f"{table}u")]
    assert asked_by(request) == wanted


def test_other_services() -> None:
    batch = a_request("sns", b"Action=PublishBatch&TopicArn=arn%3Aaws%3Asns%3Ahere%3A1%3Aa")
    assert asked_by(batch) == [("sns:Publish", "arn:aws:sns:here:1:a")]
    metrics = a_request("monitoring", gzip.compress(b'{"Namespace": "fraud"}'),
                        x_amz_target="GraniteServiceVersion20100801.PutMetricData",
                        content_encoding="gzip")  # fmt: skip
    wanted = Asked("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "fraud"})
    assert Asking("1").of(metrics) == [wanted]


def test_who_does_not_sign_is_nobody() -> None:
    with pytest.raises(ValueError, match="not signed"):
        Asking("1").of(Request("GET", "/", {}, b""))
