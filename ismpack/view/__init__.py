"""Rows and records for people: facts in, text for a terminal out. Pure: no files, no terminal, no settings.

Facts (`PackView`, `ConversationView`, and `facts` for scripts) know nothing of how they are drawn; `render_tokens`,
`render_mask` and `render_conversation` know nothing of where the facts came from.
"""

from ismpack.view.conversation import message_lines, render_conversation
from ismpack.view.facts import ConversationView, PackView, conversation_facts, facts, mask_facts, message_facts
from ismpack.view.mask import render_mask
from ismpack.view.screen import Screen
from ismpack.view.tokens import render_tokens

__all__ = [
    "ConversationView",
    "PackView",
    "Screen",
    "conversation_facts",
    "facts",
    "mask_facts",
    "message_facts",
    "message_lines",
    "render_conversation",
    "render_mask",
    "render_tokens",
]
