"""Micro-batches: everybody is served once, in order, and nobody waits for company."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.looks.queue import MOST_CLAIMS, LookQueue, Waiting

MOST = 600

moves = st.lists(
    st.one_of(
        st.none(),  # a batch is taken
        st.tuples(st.integers(1, MOST_CLAIMS), st.sampled_from([None, "a", "b"])),
    ),
    max_size=60,
)


@given(moves)
def test_every_request_is_served_once_in_the_order_of_its_model(
    steps: list[tuple[int, str | None] | None],
) -> None:
    queue = LookQueue[tuple[int, int, str | None]](MOST)
    waiting: list[tuple[int, int, str | None]] = []
    for number, step in enumerate(steps):
        if step is None:
            batch = queue.take()
            assert bool(batch) == bool(waiting)
            if not batch:
                continue
            assert batch[0] == waiting[0], "the oldest is never passed over"
            model = batch[0][2]
            same = [each for each in waiting if each[2] == model]
            assert batch == same[: len(batch)], "in order within a model"
            claims = sum(each[1] for each in batch)
            assert claims <= MOST_CLAIMS or len(batch) == 1
            rest = same[len(batch) :]
            assert not rest or claims + rest[0][1] > MOST_CLAIMS, "whoever fits is taken along"
            waiting = [each for each in waiting if each not in batch]
        else:
            claims, model = step
            room = not waiting or sum(each[1] for each in waiting) + claims <= MOST
            assert queue.put(Waiting((number, claims, model), claims, model)) is room
            waiting += [(number, claims, model)] if room else []
        assert (len(queue), queue.claims) == (len(waiting), sum(each[1] for each in waiting))
    assert queue.discard() == waiting
    assert (len(queue), queue.claims) == (0, 0)
