"""Reply trees: which way is taken, and flat messages put together."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ismpack.data import Json, Record
from ismpack.errors import InputError, RecordError
from ismpack.formats import gather_trees, to_conversation


def reply(name: str, text: str, *replies: dict[str, Any], **more: Json) -> dict[str, Any]:
    """An assistant's message of a nested tree."""
    return {"message_id": name, "role": "assistant", "text": text, **more, "replies": list(replies)}


def prompt(name: str, text: str, *replies: dict[str, Any], **more: Json) -> dict[str, Any]:
    """A prompter's message of a nested tree."""
    return {"message_id": name, "role": "prompter", "text": text, **more, "replies": list(replies)}


def tree(root: dict[str, Any], name: str = "t") -> dict[str, Any]:
    return {"message_tree_id": name, "tree_state": "ready_for_export", "prompt": root}


def way(record: Json) -> tuple[list[str], int]:
    """The texts that are taken, and how many replies are not."""
    name, conversation = to_conversation(record)
    assert name == "oasst-tree"
    assert [message.role for message in conversation.messages] == [
        "user" if index % 2 == 0 else "assistant" for index in range(len(conversation.messages))
    ]
    assert set(conversation.warnings) <= {"tree-reply-unused"}
    return [str(message.content) for message in conversation.messages], len(conversation.warnings)


def flat(root: dict[str, Any], name: str = "t") -> list[dict[str, Any]]:
    """The messages of a nested tree, one by one."""
    rows = []
    waiting: list[tuple[dict[str, Any], str | None]] = [(root, None)]
    while waiting:
        node, parent = waiting.pop(0)
        row = {key: value for key, value in node.items() if key != "replies"}
        rows.append(row | {"parent_id": parent, "message_tree_id": name, "lang": "en"})
        waiting += [(child, node["message_id"]) for child in node["replies"]]
    return rows


def records(values: list[Any]) -> list[Record]:
    return [
        Record(value=value, source_id=index, path="t.jsonl", position=index, unit="line", byte_offset=10 * index)
        for index, value in enumerate(values)
    ]


def gathered(values: list[Any], *, whole: bool = True) -> list[Any]:
    """What comes of flat messages: (line, value) of a record, (line, code, message) of an error."""
    found: list[Any] = []
    for item in gather_trees(records(values), whole=whole):
        assert item is not None
        where = item.location
        assert where is not None
        found.append(
            (where.line, item.code, item.message) if isinstance(item, RecordError) else (where.line, item.value)
        )
    return found


# --------------------------------------------------------------------------------------------------------- which way


def test_the_lowest_rank_is_taken_at_every_step() -> None:
    root = prompt(
        "q",
        "Q",
        reply("a2", "second", rank=1),
        reply("a1", "first", prompt("p", "More?", reply("b2", "B2", rank=2), reply("b1", "B1", rank=0)), rank=0),
        reply("a3", "third", rank=2),
    )
    assert way(tree(root)) == (["Q", "first", "More?", "B1"], 3)


@pytest.mark.parametrize(
    ("replies", "taken"),
    [
        ([reply("x", "X"), reply("y", "Y", rank=7)], "Y"),
        ([reply("x", "X", rank=None), reply("y", "Y", rank=0)], "Y"),
        ([reply("x", "X"), reply("y", "Y", prompt("z", "Z"))], "Y"),
        ([reply("x", "X", rank=1), reply("y", "Y", rank=1)], "X"),
        ([reply("x", "X", rank=0, deleted=True), reply("y", "Y", rank=1)], "Y"),
        ([reply("x", "X", rank=0, review_result=False), reply("y", "Y")], "Y"),
        ([reply("x", "X", rank=0, review_result=None, deleted=False), reply("y", "Y", rank=1)], "X"),
    ],
)
def test_ties_and_unwanted_replies(replies: list[dict[str, Any]], taken: str) -> None:
    texts, _ = way(tree(prompt("q", "Q", *replies)))
    assert texts[1] == taken


def test_deleted_replies_do_not_count_as_unused() -> None:
    root = prompt(
        "q", "Q", reply("x", "X", rank=0), reply("y", "Y", deleted=True), reply("z", "Z", review_result=False)
    )
    assert way(tree(root)) == (["Q", "X"], 0)


def test_a_tree_without_replies_is_a_question() -> None:
    assert way(tree({"role": "prompter", "text": "Q"})) == (["Q"], 0)


@pytest.mark.parametrize(
    ("root", "code", "path"),
    [
        (prompt("q", "Q", deleted=True), "undesired", "$.prompt"),
        (prompt("q", "Q", review_result=False), "undesired", "$.prompt"),
        ({"role": "user", "text": "Q"}, "unknown-role", "$.prompt.role"),
        ({"role": "prompter", "text": "Q", "replies": {}}, "bad-messages", "$.prompt.replies"),
        ({"role": "prompter", "text": "Q", "replies": ["A"]}, "bad-message", "$.prompt.replies[0]"),
        (prompt("q", "Q", reply("a", "A", rank="0")), "bad-message", "$.prompt.replies[0].rank"),
        (prompt("q", "Q", reply("a", "A", rank=True)), "bad-message", "$.prompt.replies[0].rank"),
        (prompt("q", "Q", reply("a", " ")), "empty-answer", "$.prompt.replies[0].text"),
        (prompt("q", "Q", {"role": "assistant"}), "bad-content", "$.prompt.replies[0].text"),
        (prompt("q", "Q", {"role": None, "text": "A"}), "bad-message", "$.prompt.replies[0].role"),
    ],
)
def test_a_bad_tree_is_refused(root: Json, code: str, path: str) -> None:
    with pytest.raises(RecordError) as caught:
        to_conversation({"message_tree_id": "t", "prompt": root})
    assert (caught.value.code, caught.value.json_path) == (code, path)


def test_a_very_deep_tree_is_read_without_recursion() -> None:
    node = reply("last", "A")
    for index in range(5_000):
        node = (prompt if index % 2 == 0 else reply)(str(index), "x", node)
    node = prompt("root", "Q", reply("a", "A", prompt("b", "B", node))) if node["role"] == "assistant" else node
    texts, unused = way(tree(node))
    assert (len(texts) >= 5_001, unused) == (True, 0)


# ----------------------------------------------------------------------------------------------------- flat messages


def test_flat_messages_become_one_record_where_the_first_of_them_stands() -> None:
    rows = flat(prompt("q", "Q", reply("a", "A", rank=0), reply("b", "B", rank=1)))
    other = {"messages": []}
    expected = tree(prompt("q", "Q", reply("b", "B", rank=1), reply("a", "A", rank=0)))
    del expected["tree_state"]
    assert gathered([other, rows[2], rows[0], other, rows[1]]) == [(1, other), (4, other), (2, expected)]


def test_a_root_without_parent_id_is_a_root() -> None:
    rows = flat(prompt("q", "Q", reply("a", "A")))
    del rows[0]["parent_id"]
    assert way(gathered(rows)[0][1]) == (["Q", "A"], 0)


def test_trees_of_one_file_are_kept_apart() -> None:
    rows = flat(prompt("q", "Q", reply("a", "A")), "one") + flat(prompt("q", "Q2", reply("a", "A2")), "two")
    found = gathered([rows[index] for index in (3, 0, 2, 1)])
    assert sorted(value["message_tree_id"] for _, value in found) == ["one", "two"]
    assert sorted(way(value)[0] for _, value in found) == [["Q", "A"], ["Q2", "A2"]]


@pytest.mark.parametrize(
    ("parents", "what"),
    [
        ({"a": None, "b": "x"}, 'message "b" of reply tree "t" answers one that is not there'),
        ({"a": None, "b": None}, 'reply tree "t" has 2 first messages'),
        ({"a": "b", "b": "a"}, 'reply tree "t" has no first messages'),
        ({"a": None, "b": "c", "c": "b"}, 'messages of reply tree "t" answer each other in a circle'),
        ({"a": None, "b": "b"}, 'messages of reply tree "t" answer each other in a circle'),
    ],
)
def test_a_broken_tree_is_one_reject(parents: dict[str, str | None], what: str) -> None:
    rows = [
        {"message_id": name, "parent_id": parent, "message_tree_id": "t", "role": "prompter", "text": "x"}
        for name, parent in parents.items()
    ]
    assert gathered([{}, *rows]) == [(1, {}), (2, "broken-tree", what)]


def test_an_id_used_twice_breaks_its_tree() -> None:
    rows = flat(prompt("q", "Q", reply("a", "A"), reply("a", "B")))
    assert gathered(rows) == [(1, "broken-tree", 'two messages of reply tree "t" have the id "a"')]


def test_a_tree_in_a_file_that_is_read_in_parts_is_refused() -> None:
    rows = flat(prompt("q", "Q", reply("a", "A")))
    what = "the message belongs to a reply tree, but its file is read in parts"
    assert gathered(rows, whole=False) == [(1, "broken-tree", what), (2, "broken-tree", what)]


def test_too_much_text_is_one_clear_error() -> None:
    rows = flat(prompt("q", "Q" * 100, reply("a", "A" * 100)))
    assert len(list(gather_trees(records(rows), whole=True, max_characters=2_300))) == 1
    with pytest.raises(InputError) as caught:
        list(gather_trees(records(rows), whole=True, max_characters=2_200))
    assert caught.value.code == "trees-too-large"


@given(st.lists(st.integers(0, 100), max_size=12), st.randoms(use_true_random=False))
def test_any_order_gives_the_same_tree(parents: list[int], order: random.Random) -> None:
    """Message i answers message parents[i] % i, so every list of numbers is a tree; ranks make the way unique."""
    rows: list[dict[str, Any]] = [{"message_id": "0", "role": "prompter", "text": "0"}]
    depth = [0]
    for index, number in enumerate(parents, start=1):
        parent = number % index
        depth.append(depth[parent] + 1)
        role = "assistant" if depth[index] % 2 else "prompter"
        rows.append(
            {"message_id": str(index), "parent_id": str(parent), "role": role, "text": str(index), "rank": index}
        )
    rows = [row | {"message_tree_id": "t"} for row in rows]
    shuffled = order.sample(rows, len(rows))
    expected = ["0"]
    while children := [row["text"] for row in rows if row.get("parent_id") == expected[-1]]:
        expected.append(children[0])
    (_, value), *rest = gathered(shuffled)
    assert rest == []
    assert way(value)[0] == expected


# ------------------------------------------------------------------------------------------------------------ a run


def test_a_file_of_flat_messages_converts(tmp_path: Path) -> None:
    import ismpack

    rows = flat(prompt("q", "What is four plus four?", reply("b", "Nine.", rank=1), reply("a", "Eight.", rank=0)))
    (tmp_path / "flat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))
    tokenizer = Path(__file__).parent.parent / "sample_data" / "tokenizer"
    report = ismpack.convert(tmp_path / "flat.jsonl", tmp_path / "out", tokenizer=str(tokenizer))
    assert (report.totals.records, report.totals.conversations, report.totals.turns) == (1, 1, 1)
    assert report.formats == {"oasst-tree": 1}
    assert report.warnings["tree-reply-unused"] == 1
    pack = ismpack.load(tmp_path / "out")[0]
    assert int(pack.source_ids[0]) == 0
    assert ismpack.verify(tmp_path / "out").ok
