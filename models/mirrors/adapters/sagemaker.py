"""Mirror versions as SageMaker model packages: group, packages, approval, reports, digests.

What was written before is found by the version's digest, which stands in the description of its
package. SageMaker numbers packages itself; our number stands in the customer metadata.

Source: the API's own model in botocore (CreateModelPackage, UpdateModelPackage).
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator, Sequence
from typing import Any, Final

from claimtrace.adapters.aws.errors import named_errors
from claimtrace.ids import digest

from ..contents import Mirrored, Report, ReportKind, State

STATUS: Final[dict[State, str]] = {
    "pending": "PendingManualApproval", "approved": "Approved", "rejected": "Rejected",
}  # fmt: skip
PLACES: Final[dict[ReportKind, tuple[str, str]]] = {
    "model quality": ("ModelQuality", "Statistics"),
    "data bias": ("Bias", "PreTrainingReport"),
    "model bias": ("Bias", "PostTrainingReport"),
    "explainability": ("Explainability", "Report"),
}
"""Where `ModelMetrics` has the report of a kind; a report's kind alone says where it goes."""
_JSON: Final = "application/json"
_CSV: Final = "text/csv"
_LONGEST: Final = 1024
_TOKEN: Final = 36
_LONGEST_VALUE: Final = 256
_TOLD: Final = 12


class SageMakerMirror:
    """The model package group of one name.

    Args:
        client: boto3's client of SageMaker.
        s3_client: boto3's client of S3.
        place: s3://bucket/prefix for files of packages.
        group: name of the model package group.
        image: container image that packages run on; empty: they name no container.
    """

    def __init__(
        self, client: Any, s3_client: Any, *, place: str, group: str, image: str = ""
    ) -> None:
        self._client, self._s3_client = client, s3_client
        self._bucket, _, prefix = place.removeprefix("s3://").partition("/")
        self._prefix = prefix.strip("/")
        self._group, self._image = group, image

    def push(self, versions: Sequence[Mirrored]) -> list[str]:
        """Write versions and their states; returns a line for each thing that was changed.

        Args:
            versions: of the registry, oldest first.

        Raises:
            ConfigError: AWS refuses; the hint says what a person must do.
            StoreUnavailable: AWS doesn't answer for now.
        """
        with named_errors("can't mirror", f"sagemaker {self._group}"):
            return list(self._push(versions))

    def _push(self, versions: Sequence[Mirrored]) -> Iterator[str]:
        self._make_group()
        theirs = self._packages()
        for each in versions:
            status = STATUS[each.decision.state]
            found = next((p for d, p in theirs.items() if each.ref.digest in d), None)
            if found is None:
                made = self._create(each, status)
                yield f"{each.ref.label} is package {made.rpartition('/')[2]} of {self._group}"
            elif found["ModelApprovalStatus"] != status:
                self._client.update_model_package(
                    ModelPackageArn=found["ModelPackageArn"], ModelApprovalStatus=status,
                    ApprovalDescription=_approval(each),
                )  # fmt: skip
                yield f"{each.ref.label} is {each.decision.state}"

    def _make_group(self) -> None:
        pages = self._client.get_paginator("list_model_package_groups")
        for page in pages.paginate(NameContains=self._group):
            for each in page["ModelPackageGroupSummaryList"]:
                if each["ModelPackageGroupName"] == self._group:
                    return
        self._client.create_model_package_group(
            ModelPackageGroupName=self._group,
            ModelPackageGroupDescription="Mirror of the registry of claimtrace; written one way",
        )

    def _packages(self) -> dict[str, dict[str, Any]]:
        """Return the packages of the group by their description, which holds a digest."""
        pages = self._client.get_paginator("list_model_packages")
        return {
            each.get("ModelPackageDescription", ""): each
            for page in pages.paginate(ModelPackageGroupName=self._group)
            for each in page["ModelPackageSummaryList"]
        }

    def _create(self, each: Mirrored, status: str) -> str:
        """Put the files, then the package; a repeated call with the same token makes no second."""
        ref = each.ref
        folder = f"{ref.name}/{ref.version:06d}-{ref.digest[:_TOLD]}"
        model = self._put(f"{folder}/model.tar.gz", archive(each.files), "application/gzip")
        metrics: dict[str, dict[str, Any]] = {}
        for kind, report in each.reports.items():
            part, place = PLACES[kind]
            metrics.setdefault(part, {})[place] = self._report(folder, report)
        given: dict[str, Any] = {
            "ModelPackageGroupName": self._group,
            "ModelPackageDescription": f"{ref.label} of claimtrace, {ref.digest}",
            "ModelApprovalStatus": status,
            "ModelMetrics": metrics,
            "CustomerMetadataProperties": properties(each),
            "ClientToken": ref.digest[:_TOKEN],
        }
        if self._image:
            given["InferenceSpecification"] = {
                "Containers": [{"Image": self._image, "ModelDataUrl": model}],
                "SupportedContentTypes": [_CSV],
                "SupportedResponseMIMETypes": [_CSV],
            }
        return str(self._client.create_model_package(**given)["ModelPackageArn"])

    def _report(self, folder: str, report: Report) -> dict[str, str]:
        name = f"{folder}/{report.kind.replace(' ', '_')}.json"
        place = self._put(name, report.content, _JSON)
        return {"ContentType": _JSON, "S3Uri": place,
                "ContentDigest": f"sha256:{digest(report.content)}"}  # fmt: skip

    def _put(self, name: str, content: bytes, kind: str) -> str:
        key = "/".join(filter(None, (self._prefix, name)))
        self._s3_client.put_object(Bucket=self._bucket, Key=key, Body=content, ContentType=kind)
        return f"s3://{self._bucket}/{key}"


def properties(each: Mirrored) -> dict[str, str]:
    """Return the customer metadata of a package: our number, digests, settings of the fit."""
    found = {f"claimtrace.{name}": value for name, value in each.digests.items()}
    found["claimtrace.version"] = str(each.ref.version)
    found |= {f"param.{name}": value for name, value in each.params.items()}
    return {name: _plain(value) for name, value in list(found.items())[:50]}


def archive(files: dict[str, bytes]) -> bytes:
    """Pack files as .tar.gz; the same files give the same bytes.

    >>> archive({"a": b"1"}) == archive({"a": b"1"})
    True
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), mtime=0)


def _approval(each: Mirrored) -> str:
    """Return who decided and why, in one line."""
    told = f"{each.decision.actor}: {each.decision.reason}"
    return "".join(c for c in told if c.isprintable())[:_LONGEST]


def _plain(value: str) -> str:
    """Return a value with the characters that AWS takes in metadata; others become `_`."""
    kept = "".join(c if c.isalnum() or c in " _.:/=+-@" else "_" for c in value)
    return kept[:_LONGEST_VALUE] or "-"
