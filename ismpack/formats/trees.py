"""Reply trees, as OpenAssistant publishes them: nested in one record, or flat with one message per record.

A tree holds many possible dialogues, and one of them is taken: from the root, again and again the best reply. That is
the one with the lowest `rank` (people ranked the replies; one without a rank comes after those that have one), then
one that was replied to before one that was not, then the first. Deleted replies, and replies that reviewers did not
accept (`review_result` false), are never taken. Replies that lie beside the way are counted, not used: each would
repeat the messages before it.

Flat messages are put together before anything reads them: see `gather_trees`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from msgspec import structs

from ismpack.data import Conversation, Json, Message, Record, Role
from ismpack.errors import UNDESIRED, InputError, Location, RecordError
from ismpack.formats.format import Format
from ismpack.formats.record import conversation, text_at
from ismpack.formats.roles import role_of
from ismpack.formats.shapes import TEXT, holding
from ismpack.formats.values import kind_of, shown

TREE_KEY = "message_tree_id"
"""Key by which a file with flat messages is known; such a file must be read as a whole."""

UNUSED_REPLY = "tree-reply-unused"
"""Warning, once for every reply that lies beside the way."""

_ROLES: dict[str, Role] = {"prompter": "user", "assistant": "assistant"}
_NODE_KEYS = ("message_id", "text", "role", "rank", "deleted", "review_result")
_MAX_CHARACTERS = 256 << 20
_NODE_CHARACTERS = 1 << 10
"""What a message costs in memory besides its text, about."""

_Object: TypeAlias = "dict[str, Json]"


def _parse(record: _Object) -> Conversation:
    root = record.get("prompt")
    if not isinstance(root, dict):
        raise RecordError(f"prompt is {kind_of(root)}, not a message", code="bad-messages", json_path="$.prompt")
    if not _is_wanted(root):
        raise RecordError(
            "the first message of the tree is deleted or was not accepted", code=UNDESIRED, json_path="$.prompt"
        )
    way: list[int] = []
    messages: list[Message] = []
    unused = 0
    node: _Object | None = root
    while node is not None:
        messages.append(Message(role=_role(node, way), content=_text(node, way)))
        replies = [
            (_rank(reply, way, index), not _wanted_replies(reply, way, index), index, reply)
            for index, reply in _wanted_replies(node, way)
        ]
        node = None
        if replies:
            *_, index, node = min(replies, key=lambda entry: entry[:3])
            way.append(index)
            unused += len(replies) - 1
    talk = conversation(record, messages, lambda index: f"{_path(way[:index])}.text")
    return structs.replace(talk, warnings=(UNUSED_REPLY,) * unused)


def _path(way: list[int], *more: int) -> str:
    """JSON path of the message to which a way leads. Only errors need it, and it is as long as the way is."""
    return "$.prompt" + "".join(f".replies[{index}]" for index in (*way, *more))


def _text(node: _Object, way: list[int]) -> str:
    text = node.get("text")
    return text if isinstance(text, str) else text_at(text, f"{_path(way)}.text")


def _role(node: _Object, way: list[int]) -> Role:
    word = node.get("role")
    known = isinstance(word, str) and word in _ROLES
    return _ROLES[str(word)] if known else role_of(word, _ROLES, f"{_path(way)}.role")


def _wanted_replies(node: _Object, way: list[int], *more: int) -> list[tuple[int, _Object]]:
    """The replies that may be taken, with their place in the list."""
    replies = node.get("replies")
    if replies is None:
        return []
    if not isinstance(replies, list):
        what = f"replies is {kind_of(replies)}, not a list"
        raise RecordError(what, code="bad-messages", json_path=f"{_path(way, *more)}.replies")
    wanted: list[tuple[int, _Object]] = []
    for index, reply in enumerate(replies):
        if not isinstance(reply, dict):
            what = f"a reply is {kind_of(reply)}, not an object"
            raise RecordError(what, code="bad-message", json_path=_path(way, *more, index))
        if _is_wanted(reply):
            wanted.append((index, reply))
    return wanted


def _is_wanted(node: _Object) -> bool:
    return node.get("deleted") is not True and node.get("review_result") is not False


def _rank(node: _Object, way: list[int], *more: int) -> tuple[bool, float]:
    rank = node.get("rank")
    if rank is None:
        return True, 0
    if isinstance(rank, bool) or not isinstance(rank, (int, float)):
        raise RecordError(f"a rank is {kind_of(rank)}", code="bad-message", json_path=f"{_path(way, *more)}.rank")
    return False, rank


OASST_TREE = Format(
    name="oasst-tree",
    title="OpenAssistant reply tree, nested or one message per record: the best-ranked replies are taken",
    keys={TREE_KEY: TEXT, "prompt": holding(role=TEXT, text=TEXT)},
    optional=("prompt.replies", "rank", "deleted", "review_result"),
    datasets=("OASST1 and OASST2 trees", "OASST1 and OASST2 flat messages"),
    example={
        TREE_KEY: "t1",
        "prompt": {
            "role": "prompter",
            "text": "What is the capital of Peru?",
            "replies": [{"role": "assistant", "text": "Lima.", "rank": 0, "replies": []}],
        },
    },
    parse=_parse,
)

TREE_FORMATS: tuple[Format, ...] = (OASST_TREE,)


# ------------------------------------------------------------------------------------------------------ flat messages


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeMessage:
    """A flat message.

    Attributes:
        tree: Id of its tree.
        id: Its own id.
        parent: Id of the message that it answers; None for the first of the tree.
        node: The message as it stands in a nested tree, without its replies.
    """

    tree: str
    id: str
    parent: str | None
    node: _Object


def tree_message(value: Json) -> TreeMessage | None:
    """The message that a record is, if it is one message of a flat reply tree."""
    if not isinstance(value, dict):
        return None
    tree, own, parent = value.get(TREE_KEY), value.get("message_id"), value.get("parent_id") or None
    if not isinstance(tree, str) or not isinstance(own, str) or not isinstance(parent, str | None):
        return None
    if not isinstance(value.get("text"), str) or not isinstance(value.get("role"), str):
        return None
    node = {key: value[key] for key in _NODE_KEYS if value.get(key) is not None}
    return TreeMessage(tree=tree, id=own, parent=parent, node=node)


def gather_trees(
    items: Iterable[Record | RecordError | None], *, whole: bool, max_characters: int = _MAX_CHARACTERS
) -> Iterator[Record | RecordError | None]:
    """Put flat messages together: each tree becomes one record in nested form; everything else passes unchanged.

    The messages of a tree may lie anywhere in their file, so trees come when the items end, in the order of their first
    messages. A tree stands where its first message stands.

    Args:
        items: The records of a chunk.
        whole: Whether the chunk is a whole file. In a part of a file a tree could lack messages without a trace.
        max_characters: How much text may be held.

    Raises:
        InputError: `trees-too-large`.
    """
    places: dict[str, Record] = {}
    trees: dict[str, list[TreeMessage]] = {}
    held = 0
    for item in items:
        message = tree_message(item.value) if isinstance(item, Record) and item.value is not None else None
        if message is None or not isinstance(item, Record):
            yield item
            continue
        if not whole:
            yield _broken("the message belongs to a reply tree, but its file is read in parts", item)
            continue
        places.setdefault(message.tree, item)
        trees.setdefault(message.tree, []).append(message)
        held += _NODE_CHARACTERS + len(str(message.node["text"]))
        if held > max_characters:
            raise InputError(
                f"the reply trees of {item.path} hold more than {max_characters:,} characters",
                code="trees-too-large",
                location=Location(path=item.path),
                hint=f"Split the file so that the messages of each tree ({TREE_KEY}) stay together.",
            )
    for name, messages in trees.items():
        yield _nested(messages, places[name])


def _nested(messages: list[TreeMessage], place: Record) -> Record | RecordError:
    """A tree as a record in nested form, at the place of its first message."""
    tree = f"reply tree {shown(messages[0].tree)}"
    nodes = {message.id: message.node for message in messages}
    if len(nodes) < len(messages):
        twice = next(name for name, count in Counter(message.id for message in messages).items() if count > 1)
        return _broken(f"two messages of {tree} have the id {shown(twice)}", place)
    replies: dict[str, list[str]] = {name: [] for name in nodes}
    roots: list[str] = []
    for message in messages:
        if message.parent is None:
            roots.append(message.id)
        elif message.parent in nodes:
            replies[message.parent].append(message.id)
        else:
            return _broken(f"message {shown(message.id)} of {tree} answers one that is not there", place)
    if len(roots) != 1:
        return _broken(f"{tree} has {len(roots) or 'no'} first messages", place)
    if _reached(roots[0], replies) < len(nodes):
        return _broken(f"messages of {tree} answer each other in a circle", place)
    for name, node in nodes.items():
        node["replies"] = [nodes[reply] for reply in replies[name]]
    return structs.replace(place, value={TREE_KEY: messages[0].tree, "prompt": nodes[roots[0]]})


def _reached(root: str, replies: dict[str, list[str]]) -> int:
    """How many messages hang together under a root."""
    count, waiting = 0, [root]
    while waiting:
        waiting += replies[waiting.pop()]
        count += 1
    return count


def _broken(what: str, place: Record) -> RecordError:
    hint = "All messages of a tree stand in one file, and each but the first answers another of them."
    return RecordError(what, code="broken-tree", hint=hint).at(place.location)
