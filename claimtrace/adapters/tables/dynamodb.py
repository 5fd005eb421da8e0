"""The `Table` of `.table` in DynamoDB, by consistent reads and conditional writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from botocore.exceptions import ClientError

from ...clock import Clock
from ...errors import StoreUnavailable
from ..aws.errors import code_of, named_errors
from .table import Change, Item

_REFUSED: Final = "ConditionalCheckFailedException"
_CANCELLED: Final = "TransactionCanceledException"
_ACTIVE_S, _LOOK_S = 60.0, 0.2


class DynamodbTable:
    """One DynamoDB table with the keys `pk` and `sk`.

    Args:
        client: boto3's client of DynamoDB.
        name: the table's name.

    Raises, from any method:
        ConfigError: the table doesn't exist, or rights are missing.
        StoreUnavailable: DynamoDB doesn't answer, or throttles.
    """

    def __init__(self, client: Any, name: str) -> None:
        self._client, self.name = client, name

    def create(self, clock: Clock) -> bool:
        """Create the table, billed by request, and wait until it is active.

        Returns:
            False when the table existed already.
        """
        keys = ("pk", "HASH"), ("sk", "RANGE")
        with named_errors("can't make the table", self.name):
            try:
                self._client.create_table(
                    TableName=self.name,
                    BillingMode="PAY_PER_REQUEST",
                    AttributeDefinitions=[
                        {"AttributeName": key, "AttributeType": "S"} for key, _ in keys
                    ],
                    KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in keys],
                )
            except ClientError as error:
                if code_of(error) != "ResourceInUseException":
                    raise
                return False
        until_s = clock.monotonic_s() + _ACTIVE_S
        while not self.is_there():
            if clock.monotonic_s() > until_s:
                raise StoreUnavailable(f"the table isn't ready after {_ACTIVE_S:.0f} s",
                                       where=self.name)  # fmt: skip
            clock.sleep(_LOOK_S)
        return True

    def is_there(self) -> bool:
        """Whether the table exists and is active."""
        with named_errors("can't look at the table", self.name):
            try:
                found = self._client.describe_table(TableName=self.name)
            except ClientError as error:
                if code_of(error) != "ResourceNotFoundException":
                    raise
                return False
        return bool(found["Table"]["TableStatus"] == "ACTIVE")

    def get(self, pk: str, sk: str) -> Item | None:
        """Return an item, or None."""
        with named_errors("can't read", self.name):
            found = self._client.get_item(
                TableName=self.name, Key=_written({"pk": pk, "sk": sk}), ConsistentRead=True
            )
        return _read(found["Item"]) if "Item" in found else None

    def query(self, pk: str, from_sk: str = "", limit: int = 1000) -> Iterator[Item]:
        """Yield the items of `pk` in the order of `sk`, from `from_sk` on, `limit` a page."""
        asked: dict[str, Any] = {
            "TableName": self.name,
            "ConsistentRead": True,
            "Limit": limit,
            "KeyConditionExpression": "pk = :pk AND sk >= :sk" if from_sk else "pk = :pk",
            "ExpressionAttributeValues": _written(
                {":pk": pk, ":sk": from_sk} if from_sk else {":pk": pk}
            ),
        }
        while True:
            with named_errors("can't read", self.name):
                page = self._client.query(**asked)
            yield from map(_read, page["Items"])
            if "LastEvaluatedKey" not in page:
                return
            asked["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def put(self, change: Change) -> bool:
        """Write an item if the stored one is as expected; False when it isn't."""
        with named_errors("can't write", self.name):
            try:
                self._client.put_item(**self._put(change))
            except ClientError as error:
                if code_of(error) != _REFUSED:
                    raise
                return False
        return True

    def put_always(self, item: Mapping[str, str | int]) -> None:
        """Write an item unconditionally."""
        with named_errors("can't write", self.name):
            self._client.put_item(TableName=self.name, Item=_written(item))

    def put_all(self, changes: Sequence[Change]) -> bool:
        """Write up to `MOST_AT_ONCE` items, or none when a stored one isn't as expected (False)."""
        if not changes:
            return True
        with named_errors("can't write", self.name):
            try:
                self._client.transact_write_items(
                    TransactItems=[{"Put": self._put(change)} for change in changes]
                )
            except ClientError as error:
                if code_of(error) != _CANCELLED:
                    raise
                reasons = {each["Code"] for each in error.response["CancellationReasons"]}
                if "ConditionalCheckFailed" not in reasons:
                    what = f"can't write: {', '.join(sorted(reasons - {'None'}))}"
                    raise StoreUnavailable(what, where=self.name) from error
                return False
        return True

    def delete(self, pk: str, sk: str) -> None:
        """Remove an item; no error when it doesn't exist."""
        with named_errors("can't write", self.name):
            self._client.delete_item(TableName=self.name, Key=_written({"pk": pk, "sk": sk}))

    def _put(self, change: Change) -> dict[str, Any]:
        put: dict[str, Any] = {"TableName": self.name, "Item": _written(change.item)}
        if change.expected is None:
            return put | {"ConditionExpression": "attribute_not_exists(pk)"}
        names = {f"#{i}": name for i, name in enumerate(change.expected)}
        values = {f":{i}": value for i, value in enumerate(change.expected.values())}
        return put | {
            "ConditionExpression": " AND ".join(f"#{i} = :{i}" for i in range(len(names))),
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": _written(values),
        }


def _written(item: Mapping[str, str | int]) -> dict[str, dict[str, str]]:
    return {
        name: {"S": value} if isinstance(value, str) else {"N": str(value)}
        for name, value in item.items()
    }


def _read(item: Mapping[str, Mapping[str, str]]) -> Item:
    return {name: each["S"] if "S" in each else int(each["N"]) for name, each in item.items()}
