"""Our JSON hooks give the same result as the client's own parser, or leave the body to it."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from claimtrace.adapters.aws.client import aws_client
from claimtrace.adapters.aws.errors import named_errors
from claimtrace.adapters.kinesis.fast_json import Entry, FastKinesis, Page
from claimtrace.adapters.kinesis.stream import describe, stream_name
from claimtrace.errors import ConfigError, StoreUnavailable
from claimtrace.settings.schema import KinesisSettings, Settings
from tests.servers.aws_local import REGION
from tests.servers.kinesis import KinesisLocal, create_streams
from tests.servers.kinesis_faults import error, inject, times

ENTRIES = [Entry(b'{"n":%d}' % n, f"k{n % 5}") for n in range(40)] + [Entry(b"\x00\xff", "\u00e9")]


@pytest.fixture(scope="module")
def stream(kinesis: KinesisLocal) -> str:
    """Create a stream of one shard that holds all entries."""
    client = kinesis.client()
    create_streams(client, {"wire": 1})
    assert FastKinesis(client).put_records("wire", ENTRIES) == [None] * len(ENTRIES)
    return "wire"


def from_the_start(client, stream: str) -> str:
    return client.get_shard_iterator(
        StreamName=stream, ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]


def test_a_page_is_what_the_clients_parser_says(kinesis: KinesisLocal, stream: str) -> None:
    client = kinesis.client()
    slow = Page.of(client.get_records(ShardIterator=from_the_start(client, stream), Limit=100))
    wire = FastKinesis(client)
    FastKinesis(client)  # a second one on the same client changes nothing
    quick = wire.get_records(from_the_start(client, stream), 100)
    assert quick.Records == slow.Records
    assert [r.log_time_ms for r in quick.Records] == [r.log_time_ms for r in slow.Records]
    assert [(r.Data, r.PartitionKey) for r in quick.Records] == [
        (each.Data, each.PartitionKey) for each in ENTRIES
    ]
    assert quick.NextShardIterator
    assert (quick.MillisBehindLatest, quick.ChildShards) == (slow.MillisBehindLatest, [])


def test_calls_of_others_on_the_same_client_stay_as_they_are(
    kinesis: KinesisLocal, stream: str
) -> None:
    client = kinesis.client()
    FastKinesis(client)
    put = client.put_record(StreamName=stream, Data=b"by hand", PartitionKey="k")
    assert put["ShardId"] == "shardId-000000000000"
    answer = client.put_records(StreamName=stream, Records=[{"Data": b"x", "PartitionKey": "k"}])
    assert answer["FailedRecordCount"] == 0


def test_a_body_of_another_form_is_left_to_the_client(kinesis: KinesisLocal, stream: str) -> None:
    client = kinesis.client()
    odd = 200, {"Records": [{"SequenceNumber": "5", "Data": "eA==", "PartitionKey": "k",
                             "ApproximateArrivalTimestamp": "2026-01-02T03:04:05Z"}]}  # fmt: skip
    wire = FastKinesis(client)
    iterator = from_the_start(client, stream)
    inject(client, "GetRecords", times(1, odd))
    (record,) = wire.get_records(iterator, 10).Records
    assert (record.SequenceNumber, record.Data) == ("5", b"x")
    assert record.log_time_ms == 1_767_323_045_000


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("ProvisionedThroughputExceededException", 400, StoreUnavailable),
        ("ExpiredTokenException", 400, StoreUnavailable),
        ("KMSAccessDeniedException", 400, StoreUnavailable),
        ("InternalFailure", 500, StoreUnavailable),
        ("AccessDeniedException", 400, ConfigError),
        ("UnrecognizedClientException", 400, ConfigError),
        ("ResourceNotFoundException", 400, ConfigError),
        ("InvalidArgumentException", 400, ConfigError),
    ],
)
def test_what_a_refusal_means_to_us(
    kinesis: KinesisLocal, stream: str, code: str, status: int, kind: type[Exception]
) -> None:
    client = kinesis.client()
    wire, iterator = FastKinesis(client), from_the_start(client, stream)
    inject(client, "GetRecords", times(9, error(code, status)))
    with pytest.raises(kind) as caught, named_errors("can't read", "wire"):
        wire.get_records(iterator, 10)
    assert caught.value.where == "wire"
    assert kind is StoreUnavailable or caught.value.hint or code == "InvalidArgumentException"


def test_without_credentials_or_region_it_is_said_how_to_set_them(
    monkeypatch: pytest.MonkeyPatch, kinesis: KinesisLocal
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ConfigError, match="no AWS region") as caught:
        aws_client(KinesisSettings(), "kinesis")
    assert "kinesis.region" in caught.value.hint
    at = KinesisSettings(region=REGION, kinesis_endpoint=kinesis.endpoint)
    with pytest.raises(ConfigError, match="no AWS credentials"):
        describe(aws_client(at, "kinesis"), "wire")
    with pytest.raises(ConfigError, match="no URL"):
        aws_client(KinesisSettings(region=REGION, kinesis_endpoint="nowhere"), "kinesis")


def test_the_region_comes_from_the_setting_or_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-north-1")  # boto3 itself looks at AWS_DEFAULT_REGION only
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    assert aws_client(KinesisSettings(), "kinesis").meta.region_name == "eu-north-1"
    at = KinesisSettings(region=REGION)
    assert aws_client(at, "kinesis").meta.region_name == REGION


def test_a_server_that_is_not_there_is_waited_for() -> None:
    client = KinesisLocal.__new__(KinesisLocal)
    client.port = 9
    with pytest.raises(StoreUnavailable, match="can't look"):
        describe(client.client(connect_timeout=1), "wire")


def test_a_stream_made_anew_is_another_one(kinesis: KinesisLocal) -> None:
    client = kinesis.client()
    create_streams(client, {"recreated": 1})
    before = describe(client, "recreated")
    assert describe(client, "recreated") == before
    assert before.retention_ms == 86_400_000
    client.delete_stream(StreamName="recreated")
    while True:
        try:
            client.describe_stream_summary(StreamName="recreated")
        except ClientError:
            break
    create_streams(client, {"recreated": 1})
    assert describe(client, "recreated").identity != before.identity


def test_streams_have_their_common_name() -> None:
    assert (
        stream_name(Settings(source="kinesis://prod/").kinesis_connection, "claims.filed")
        == "prod.claims.filed"
    )
