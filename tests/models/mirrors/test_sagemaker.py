"""The mirror in SageMaker: shapes that the API takes, states, reports in their own place."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from claimtrace.errors import ConfigError, ModelError, StoreUnavailable
from claimtrace.ids import digest
from models.mirrors.adapters.sagemaker import PLACES, SageMakerMirror, archive
from models.mirrors.contents import Mirrored, Report, ReportKind, mirrored
from models.registry.adapters.folder import FolderRegistry
from tests.servers.aws_local import REGION
from tests.servers.ministack import Ministack
from tests.servers.sagemaker import Refused, SageMakerLocal
from tests.worlds.artefacts import draft
from tests.worlds.boosters import booster

BUCKET, GROUP, IMAGE = "mirrored", "auto-claims", f"1.dkr.ecr.{REGION}.amazonaws.com/xgboost:1"


@pytest.fixture
def server() -> Iterator[SageMakerLocal]:
    with SageMakerLocal() as server:
        yield server


@pytest.fixture(scope="module")
def s3(ministack: Ministack) -> Any:
    client = ministack.client("s3")
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    return client


@pytest.fixture
def registry(tmp_path: Path) -> FolderRegistry:
    made = FolderRegistry(tmp_path / "models", "auto_claims")
    for seed in (3, 4, 5):
        metrics = {"evaluation": {"auc": {"value": 0.8, "low": 0.7, "high": 0.9}}}
        lineage = {"params": {"rounds": seed, "monotone": "(1,-1)"}}
        made.publish(draft(metrics=metrics, lineage=lineage), booster(seed=seed)[1],
                     actor="ann", reason="trained", at_ms=1)  # fmt: skip
    return made


def client_of(server: SageMakerLocal) -> Any:
    return boto3.client(
        "sagemaker", region_name=REGION, endpoint_url=server.endpoint, aws_access_key_id="local",
        aws_secret_access_key="local", config=Config(retries={"total_max_attempts": 1}),
    )  # fmt: skip


def shown(registry: FolderRegistry, *reports: Report) -> list[Mirrored]:
    entries, aliases = registry.history(), registry.aliases()
    return [mirrored(registry.load(ref), entries, aliases, reports) for ref in registry.versions()]


def push(server: SageMakerLocal, s3: Any, versions: list[Mirrored], image: str = IMAGE) -> Any:
    mirror = SageMakerMirror(
        client_of(server), s3, place=f"s3://{BUCKET}/packages", group=GROUP, image=image
    )
    return mirror.push(versions)


def content(s3: Any, place: str) -> bytes:
    bucket, _, key = place.removeprefix("s3://").partition("/")
    read: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return read


def test_packages_with_model_digests_and_the_quality_report(
    server: SageMakerLocal, s3: Any, registry: FolderRegistry
) -> None:
    done = push(server, s3, shown(registry))
    assert done == [f"auto_claims/{n} is package {n} of {GROUP}" for n in (1, 2, 3)]
    artefact, package = registry.load(1), server.packages[0]
    assert artefact.ref.digest in package["ModelPackageDescription"]
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    told = package["CustomerMetadataProperties"]
    assert told["claimtrace.digest"] == artefact.ref.digest
    assert told["claimtrace.version"] == "1"
    assert told["claimtrace.definitions"] == artefact.manifest.definitions
    assert told["param.monotone"] == "_1_-1_"  # AWS takes neither brackets nor commas
    container = package["InferenceSpecification"]["Containers"][0]
    assert container["Image"] == IMAGE
    with tarfile.open(fileobj=io.BytesIO(content(s3, container["ModelDataUrl"]))) as tar:
        assert tar.getnames() == ["manifest.json", "model.json"]
        model = tar.extractfile("model.json")
        assert model is not None
        assert digest(model.read()) == artefact.manifest.model_digest
    assert set(package["ModelMetrics"]) == {"ModelQuality"}
    statistics = package["ModelMetrics"]["ModelQuality"]["Statistics"]
    report = content(s3, statistics["S3Uri"])
    assert statistics["ContentDigest"] == f"sha256:{digest(report)}"
    assert json.loads(report)["binary_classification_metrics"] == {"auc": {"value": 0.8}}


def test_again_creates_nothing_and_approvals_follow(
    server: SageMakerLocal, s3: Any, registry: FolderRegistry
) -> None:
    push(server, s3, shown(registry))
    server.calls.clear()
    assert push(server, s3, shown(registry)) == []
    assert {call[:4] for call in server.calls} == {"List"}
    registry.move_alias("champion", 2, actor="bob\n", reason="better\x1b[1m", at_ms=2)
    registry.reject(3, actor="ann", reason="worse", at_ms=3)
    assert push(server, s3, shown(registry)) == [
        "auto_claims/2 is approved", "auto_claims/3 is rejected"
    ]  # fmt: skip
    states = [each["ModelApprovalStatus"] for each in server.packages]
    assert states == ["PendingManualApproval", "Approved", "Rejected"]
    assert server.packages[1]["ApprovalDescription"] == "bob: better[1m"
    registry.move_alias("champion", 3, actor="bob", reason="after all", at_ms=4)
    assert push(server, s3, shown(registry)) == ["auto_claims/3 is approved"]
    assert len(server.packages) == 3


def test_without_an_image_a_package_names_no_container(
    server: SageMakerLocal, s3: Any, registry: FolderRegistry
) -> None:
    push(server, s3, shown(registry)[:1], image="")
    assert "InferenceSpecification" not in server.packages[0]


def report_of(kind: ReportKind) -> Report:
    return Report(kind, json.dumps({"kind": kind}).encode())


def test_each_report_stands_under_its_own_kind(
    server: SageMakerLocal, s3: Any, registry: FolderRegistry
) -> None:
    more = [report_of(kind) for kind in PLACES if kind != "model quality"]
    push(server, s3, shown(registry, *more)[:1])
    metrics = server.packages[0]["ModelMetrics"]
    for kind, (part, place) in PLACES.items():
        said = json.loads(content(s3, metrics[part][place]["S3Uri"]))["kind"]
        assert said == kind
    assert sum(len(part) for part in metrics.values()) == len(PLACES)


@pytest.mark.parametrize("content", [
    b'{"kind": "model bias"}', b"{}", b"[]", b"", b'{"kind": 3}', b"\xff", b"[" * 100_000,
])  # fmt: skip
def test_a_report_of_another_kind_is_refused(content: bytes) -> None:
    with pytest.raises(ModelError):
        Report("explainability", content)


def test_two_reports_of_one_kind_are_refused(registry: FolderRegistry) -> None:
    with pytest.raises(ModelError, match="two reports"):
        shown(registry, report_of("model bias"), report_of("model bias"))


@pytest.mark.parametrize(
    ("code", "error"),
    [("AccessDeniedException", ConfigError), ("ThrottlingException", StoreUnavailable)],
)
@pytest.mark.parametrize("operation", ["ListModelPackageGroups", "CreateModelPackage"])
def test_what_aws_refuses_is_named(
    server: SageMakerLocal, s3: Any, registry: FolderRegistry, code: str, error: type,
    operation: str,
) -> None:  # fmt: skip
    server.refuse = lambda asked: code if asked == operation else ""
    with pytest.raises(error, match=code):
        push(server, s3, shown(registry))
    server.refuse = lambda _: ""
    assert len(push(server, s3, shown(registry))) == 3


def test_the_stand_in_refuses_what_the_model_of_the_api_refuses() -> None:
    server = SageMakerLocal()
    server.answer("CreateModelPackageGroup", {"ModelPackageGroupName": GROUP})
    sound = {"ModelPackageGroupName": GROUP, "ModelApprovalStatus": "Approved"}
    for changes in (
        {"ModelApprovalStatus": "approved"},
        {"ModelPackageDescription": "d" * 1025},
        {"Metrics": {}},
        {"ClientToken": "t" * 37},
        {"CustomerMetadataProperties": {"a": "b,c"}},
        {"ModelMetrics": {"Bias": {"Report": {"S3Uri": "s3://b/k"}}}},
        {"ModelMetrics": {"Explainability": {"PreTrainingReport": {}}}},
        {"InferenceSpecification": {"Containers": [{"Image": "two words"}]}},
    ):
        with pytest.raises(Refused):
            server.answer("CreateModelPackage", sound | changes)
    assert server.answer("CreateModelPackage", sound)["ModelPackageArn"].endswith("/1")


def test_the_same_files_give_the_same_archive() -> None:
    files = {"b": b"2", "a": b"1"}
    assert archive(files) == archive(dict(sorted(files.items())))
    assert archive(files) != archive({"b": b"2"})
