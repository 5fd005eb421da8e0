"""Derive the IAM permissions that a request to AWS needs: actions and resources.

Most calls need the action of their own name. Exceptions: a transaction of DynamoDB needs the
permissions of its parts, a batch of SNS is a publish, and S3 has a few actions for many requests.
An iterator of Kinesis doesn't name its stream; the stream is remembered from the answer in which
the iterator was returned.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

from botocore.parsers import RpcV2CBORParser

from tests.servers.iam_policy import Asked

_SCOPE: Final = re.compile(r"Credential=([^/]+)/\d{8}/([^/]+)/([^/]+)/aws4_request")
_TOKEN_FIELDS: Final = {
    "GetShardIterator": "ShardIterator", "GetRecords": "NextShardIterator",
    "ListShards": "NextToken",
}  # fmt: skip
"""Operation -> the field of its answer that identifies a stream in later requests."""


@dataclass(frozen=True)
class Request:
    """A request as received; its signature names the sender and the service."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def caller(self) -> str:
        """The id of the caller's access key."""
        return self._scope[0]

    @property
    def region(self) -> str:
        """The region in the signature."""
        return self._scope[1]

    @property
    def service(self) -> str:
        """The service in the signature."""
        return self._scope[2]

    @property
    def operation(self) -> str:
        """The name of the call, if the protocol has one; empty for S3."""
        target = self.headers.get("x-amz-target", "")
        if target:
            return target.rpartition(".")[2]
        if "/operation/" in self.target:
            return self.target.rpartition("/")[2]
        return self.form.get("Action", "") if self.service != "s3" else ""

    @property
    def form(self) -> dict[str, str]:
        """The body of the older (form) protocol."""
        return dict(parse_qsl(self.plain_body.decode()))

    @property
    def content(self) -> dict[str, Any]:
        """The body of the newer (JSON and CBOR) protocols."""
        if "cbor" in self.headers.get("content-type", ""):
            reader = RpcV2CBORParser()
            return dict(
                reader.parse_data_item(reader.get_peekable_stream_from_bytes(self.plain_body))
            )
        return dict(json.loads(self.plain_body or b"{}"))

    @property
    def plain_body(self) -> bytes:
        """The body, uncompressed."""
        is_small = self.headers.get("content-encoding", "") == "gzip"
        return gzip.decompress(self.body) if is_small else self.body

    @property
    def _scope(self) -> tuple[str, str, str]:
        found = _SCOPE.search(self.headers.get("authorization", ""))
        if found is None:
            raise ValueError(f"not signed: {self.method} {self.target}")
        return found[1], found[2], found[3]


@dataclass
class Asking:
    """Derives the permissions that requests need, in one account.

    Args:
        account: the account in the names of resources.
    """

    account: str
    _streams: dict[str, str] = field(default_factory=dict)
    """The stream of each iterator and each token."""

    def of(self, request: Request) -> list[Asked]:
        """Return all permissions that a request needs.

        Raises:
            ValueError: the request is of an unsupported kind.
        """
        asking: dict[str, Callable[[Request], list[Asked]]] = {
            "kinesis": self._kinesis, "dynamodb": self._dynamodb, "sns": _sns,
            "monitoring": _cloudwatch, "s3": _s3, "sagemaker": self._sagemaker,
        }  # fmt: skip
        return asking[request.service](request)

    def remember(self, request: Request, answer: bytes) -> None:
        """Store the stream of the iterator or token in an answer."""
        name = _TOKEN_FIELDS.get(request.operation)
        if request.service == "kinesis" and name is not None:
            token = json.loads(answer).get(name)
            if token:
                self._streams[token] = self._stream(request)

    def _kinesis(self, request: Request) -> list[Asked]:
        content = request.content
        if "ConsumerARN" in content:
            resource = content["ConsumerARN"]
        elif request.operation == "DescribeStreamConsumer":
            resource = f"{content['StreamARN']}/consumer/{content['ConsumerName']}:0"
        else:
            resource = self._stream(request)
        return [Asked(f"kinesis:{request.operation}", resource)]

    def _stream(self, request: Request) -> str:
        content = request.content
        if "StreamARN" in content:
            return str(content["StreamARN"])
        if "StreamName" in content:
            return self._arn(request, f"stream/{content['StreamName']}")
        token = content.get("ShardIterator") or content.get("NextToken") or ""
        return self._streams.get(token, "*")

    def _dynamodb(self, request: Request) -> list[Asked]:
        content, names = request.content, {"ConditionCheck": "ConditionCheckItem"}
        parts = [
            (names.get(kind, f"{kind}Item"), each)
            for item in content.get("TransactItems", ())
            for kind, each in item.items()
        ] or [(request.operation, content)]
        return [
            Asked(f"dynamodb:{name}", self._arn(request, f"table/{each['TableName']}"))
            if "TableName" in each
            else Asked(f"dynamodb:{name}", "*")
            for name, each in parts
        ]

    def _sagemaker(self, request: Request) -> list[Asked]:
        content, action = request.content, f"sagemaker:{request.operation}"
        group = content.get("ModelPackageGroupName", "")
        if request.operation.startswith("List"):  # they know no resources
            return [Asked(action, "*")]
        if request.operation == "UpdateModelPackage":
            return [Asked(action, content["ModelPackageArn"])]
        needed = [Asked(action, self._arn(request, f"model-package-group/{group}"))]
        if request.operation == "CreateModelPackage":
            needed.append(Asked(action, self._arn(request, f"model-package/{group}/1")))
        return needed

    def _arn(self, request: Request, rest: str) -> str:
        return f"arn:aws:{request.service}:{request.region}:{self.account}:{rest}"


def _sns(request: Request) -> list[Asked]:
    fields = request.form or request.content
    name = "Publish" if request.operation == "PublishBatch" else request.operation
    return [Asked(f"sns:{name}", fields.get("TopicArn", "*"))]


def _cloudwatch(request: Request) -> list[Asked]:
    fields = request.form if request.form.get("Action") else request.content
    context = {"cloudwatch:namespace": fields["Namespace"]} if "Namespace" in fields else {}
    return [Asked(f"cloudwatch:{request.operation}", "*", context)]


def _s3(request: Request) -> list[Asked]:
    url = urlsplit(request.target)
    bucket, _, key = unquote(url.path).lstrip("/").partition("/")
    asked = {name: values[0] for name, values in parse_qs(url.query, True).items()}
    if not bucket:
        return [Asked("s3:ListAllMyBuckets", "*")]
    if not key:
        return _s3_bucket(request, f"arn:aws:s3:::{bucket}", asked)
    needed = [Asked(_s3_object(request.method, asked), f"arn:aws:s3:::{bucket}/{key}")]
    if source := request.headers.get("x-amz-copy-source"):
        needed.append(Asked("s3:GetObject", f"arn:aws:s3:::{unquote(source).lstrip('/')}"))
    return needed


def _s3_bucket(request: Request, arn: str, asked: Mapping[str, str]) -> list[Asked]:
    if request.method in ("GET", "HEAD") and not set(asked) & {"location", "uploads"}:
        context = {"s3:prefix": asked["prefix"]} if "prefix" in asked else {}
        return [Asked("s3:ListBucket", arn, context)]
    if request.method == "POST" and "delete" in asked:
        keys = re.findall(rb"<Key>(.*?)</Key>", request.body)
        return [Asked("s3:DeleteObject", f"{arn}/{key.decode()}") for key in keys]
    names = {"location": "s3:GetBucketLocation", "uploads": "s3:ListBucketMultipartUploads"}
    found = next((names[each] for each in asked if each in names), "")
    made = {"PUT": "s3:CreateBucket", "DELETE": "s3:DeleteBucket"}.get(request.method, "")
    if not (found or made):
        raise ValueError(f"unknown to this gate: {request.method} {request.target}")
    return [Asked(found or made, arn)]


def _s3_object(method: str, asked: Mapping[str, str]) -> str:
    """Return the permissions of a request for an object; a part of an upload is a put."""
    if "uploadId" in asked and method in ("GET", "DELETE"):
        is_end = method == "DELETE"
        return "s3:AbortMultipartUpload" if is_end else "s3:ListMultipartUploadParts"
    return {"GET": "s3:GetObject", "HEAD": "s3:GetObject", "DELETE": "s3:DeleteObject"}.get(
        method, "s3:PutObject"
    )
