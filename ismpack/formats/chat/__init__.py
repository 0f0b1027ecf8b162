"""Lists of messages with role and content, and what the chat APIs write around them."""

from __future__ import annotations

from ismpack.formats.chat.cohere import COHERE_CHAT
from ismpack.formats.chat.google import GEMINI, PALM_CHAT, PALM_TEXT
from ismpack.formats.chat.message_lists import MESSAGE_LISTS
from ismpack.formats.chat.openai import MESSAGES
from ismpack.formats.chat.openai_jobs import OPENAI_BATCH, OPENAI_BATCH_REQUEST, OPENAI_PREFERENCE
from ismpack.formats.chat.responses import RESPONSES, RESPONSES_INPUT
from ismpack.formats.format import Format

CHAT_FORMATS: tuple[Format, ...] = (
    MESSAGES,
    *MESSAGE_LISTS,
    OPENAI_PREFERENCE,
    OPENAI_BATCH,
    OPENAI_BATCH_REQUEST,
    RESPONSES,
    RESPONSES_INPUT,
    GEMINI,
    PALM_CHAT,
    PALM_TEXT,
    COHERE_CHAT,
)
