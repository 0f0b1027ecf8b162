"""Texts on which engines are likely to differ: some 500 short ones, the same in every run.

Engines disagree where a regular expression meets a character that their Unicode tables know differently, at the edges
of runs (of white space, digits, marks), at apostrophes, at characters that normalizers touch, and at bytes that are no
token.
"""

from __future__ import annotations

from collections.abc import Iterator

_CATEGORIES = (
    ("Lu", "AÀΩЖ\u0531\u10a0\U00010400"),
    ("Ll", "aßµжﬁ\u0561\U0001d41a"),
    ("Lt", "ǅǈᾈ"),
    ("Lm", "ʰˆ\u0e46々ー\uff70"),
    ("Lo", "ªאعकกあ中가㐀\U00020000"),
    ("Mn", "\u0301\u0323\u064b\u093c\u20d0\ufe0f\U000e0100"),
    ("Mc", "\u0903\u0bbe\u102c\U0001d165"),
    ("Me", "\u0488\u20dd\u20e3"),
    ("Nd", "07٣५๒７\U0001d7d8"),
    ("Nl", "Ⅷ〇\u16ee\U00010140"),
    ("No", "²¼①⑽㉈\U00010107"),
    ("Pc", "_‿\ufe33"),
    ("Pd", "-–—〜"),
    ("Ps", "([{「（"),
    ("Pe", ")]}」）"),
    ("Pi", "«‘“"),
    ("Pf", "»’”"),
    ("Po", "!'\"#%&*,./:;?@\\¡§。、"),
    ("Sm", "+<=>|~±×√∑"),
    ("Sc", "$¢£¥€₿"),
    ("Sk", "^`¨´゛\U0001f3fd"),
    ("So", "©°™▁■☃😀🇩\ufffd"),
    ("Zs", " \xa0\u1680\u2000\u2009\u202f\u3000"),
    ("Zl", "\u2028"),
    ("Zp", "\u2029"),
    ("Cc", "\0\x01\t\n\x0b\x0c\r\x1b\x1f\x7f\x85\x9f"),
    ("Cf", "\xad\u0600\u200b\u200c\u200d\u200e\u202e\u2060\ufeff\U000e0041"),
    ("Co", "\ue000\uf8ff\U000f0000\U0010fffd"),
    ("Cn", "\u0378\ufdd0\uffff\U0001ffff\U0010ffff"),
)
"""Some characters of every general category but Cs, which no UTF-8 can hold."""

_NEW = "\u088f\u0c5c\u1acf\u1ad0\u1c89\ua7cb\ua7ce\ua7da\ua7f1\U000113c2\U00011de0\U0001611e\U00016d67\U0001fae8"
"""Letters, marks, digits and symbols of Unicode 15 to 17: tables of different age disagree on them."""

_SETTINGS = ("{}", "a{}b", " {} ", "1{}{}\n", "!{}{}.", "\u0e01{}'s")
"""What a character of a category stands between."""

_REPEATED = (
    " ",
    "\n",
    "\t",
    "\r\n",
    " \n",
    "\n ",
    "\xa0",
    "\u3000",
    "0",
    "9",
    "a",
    "A",
    "=",
    "-",
    "▁",
    "\u0301",
    "中",
    "가",
    "😀",
)
_LENGTHS = (2, 3, 4, 5, 7, 8, 16, 31, 64, 200)

_CONTRACTIONS = ("s", "t", "re", "ve", "m", "ll", "d", "S", "T", "RE", "Ve", "M", "LL", "lL", "D", "x", "ſ", "\u212a")

_PASSAGES = (
    "",
    "a",
    " a",
    "a ",
    "  leading and trailing  ",
    "The quick brown fox jumps over the lazy dog.",
    "the THE The tHE  the\tthe\nthe\u3000the",
    "HTTPServer parseJSONFile XMLHttpRequest iPhone eBay McDonald",
    "don't DON'T don’t Don`t d'être l'été 'quoted' ''''",
    "a,b;c:d.e!f?g/h\\i|j(k)l[m]n{o}p<q>r\"s'",
    "e.g. i.e. U.S.A. 3.14 1,234,567.89 -40°C 50% $9.99 #1 @you C++ C# .NET",
    "https://example.com/a/b?c=d&e=%20f#g mailto:a.b+c@d-e.org",
    "def f(x):\n    if x:\n\treturn {'a': [1, 2]}  # note\n\n\n",
    "for (int i = 0; i < n; ++i) {\r\n    a[i] += *p->q;\r\n}\r\n",
    '<div class="x">\n  <p>&amp;&nbsp;</p>\n</div>\n<!-- -->',
    '{"k": [1.5e-7, null, true], "s": "\\u00e9\\n"}',
    "SELECT * FROM t WHERE a <> 'b''c';--",
    "| a | b |\n|---|:-:|\n| 1 | **2** |\n\n- [ ] x\n> y\n```py\n```",
    "$\\frac{1}{2}\\sum_{i=0}^{n} x_i^2$ ∀x∈ℝ: x²≥0 ⇒ √x",
    "Ünïcödé naïve café résumé Straße İstanbul ıi ΑΣ ας ǆ ŉ",
    "cafe\u0301 n\u0303 A\u030a o\u0302\u0323 \u0301alone q\u0323\u0307\u0301\u0300\u0302",
    "ﬁ ﬂ ﬃ ½ ⅓ ² ₂ Ⅻ ㎏ ㍿ ① ﷺ ＡＢＣ １２３ ａｂｃ ！",
    "你好，世界！今天天气怎么样？《红楼梦》、“引号”",
    "日本語の文章です。カタカナとひらがな、漢字ｶﾅ。々〆〤",
    "안녕하세요 세계 \u1112\u1161\u11ab\u1100\u1173\u11af 각 ㄱㄴㄷ",
    "שלום עולם \u05e9\u05c1\u05b8 مرحبا بالعالم لَا إِلٰهَ \u200fabc\u200e ١٢٣",
    "हिन्दी में क्षत्रिय श्री বাংলা தமிழ் తెలుగు ಕನ್ನಡ മലയാളം ไทยภาษา ລາວ မြန်မာ ភាសាខ្មែរ",
    "Привет, мир! Ёжик й и\u0306 Ελληνικά ά α\u0301 Հայերեն ქართული አማርኛ ᏣᎳᎩ ᠮᠣᠩᠭᠣᠯ བོད་ཡིག",
    "👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈 🇩🇪🇫🇷 1️⃣ #️⃣ ☺️ ☺ 🫠 🧑🏿‍🚀 👁️‍🗨️",
    "\ufeffmark \ufffd\ufffd \0nul\0 \x1b[31mred\x1b[0m \x7f a\u200bb a\xadb \u2028 \u2029 \x85",
    "one\rtwo\r\nthree\n\rfour\n\n\nfive\r\r",
    "  \n  \n\n \t \n\t\t x \n  ",
    "a\n \n  \n   b   \n  c",
    "_a __b__ ___ a_b _1 1_000",
    "...?!?!...---***===___~~~```'''\"\"\"",
    "aAaA1a1A 1st 2nd x2y 0x1F 1e9 v1.2.3 2024-02-30T25:61:61Z",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "<|im_start|>user\n<|im_end|> <|endoftext|> <|eot_id|> <|begin_of_text|>",
    "<s> </s> <unk> <pad> <bos> <eos> [CLS] [SEP] [MASK] [UNK] [PAD] [INST] [/INST] <<SYS>>",
    "<think> </think> <tool_call> </tool_call> <start_of_turn> <｜User｜> <｜begin▁of▁sentence｜>",
    "▁ ▁a a▁b ▁▁ ▁ ▁ a▁ b",
    "<0x0A> <0x00> <0xFF> <0xE4><0xB8><0xAD> <0x0a>",
    "Ġa ĠĠ Ċ ċ ĉ Ń ł ¡ ¢ ÿ ##ing ##s @@ </w> a</w>",
    "\ud7a3\ud7b0 \uf900 \ufb00 \ufe70 \uff9e\uff9f \ufffc \U0001f9ff \U0002fa1d",
)


def _nasty_texts() -> Iterator[str]:
    yield from _PASSAGES
    for characters in (*(members for _, members in _CATEGORIES), _NEW):
        for setting in _SETTINGS:
            yield " ".join(setting.replace("{}", character) for character in characters)
        yield characters
    for unit in _REPEATED:
        runs = [unit * length for length in _LENGTHS]
        yield from runs[-2:]
        yield "x".join(runs)
        yield f"{runs[3]}a {runs[2]}"
    for apostrophe in ("'", "’", " '", "'' "):
        yield " ".join(f"I{apostrophe}{ending}" for ending in _CONTRACTIONS)
        yield "".join(f"{apostrophe}{ending}1" for ending in _CONTRACTIONS)
    digits = "31415926535897932384626433"
    for length in range(1, 20):
        yield f"{digits[:length]} a{digits[:length]}b {digits[:length]},{digits[:3]}\n{digits[:length]}"
    for first in range(0, 0x80, 8):
        ascii_block = "".join(map(chr, range(first, first + 8)))
        yield ascii_block
        yield "".join(f"{character} a{character}{character}" for character in ascii_block)
    yield from _every_byte()
    for word in ("Lorem", "straßen", "данные", "データ", "데이터", "\U0001f600"):
        yield word * 60
        yield f"{word} " * 30


def _every_byte() -> Iterator[str]:
    """Characters that hold every first byte, and every later byte, that UTF-8 has."""
    for first, stop, step in (
        (0x80, 0x800, 65),
        (0x800, 0xD800, 4033),
        (0xE000, 0x10000, 4033),
        (0x10000, 0x110000, 257 << 8),
    ):
        characters = [chr(code) for code in range(first, stop, step)]
        yield "".join(characters)
        yield " ".join(characters)


NASTY_TEXTS = tuple(dict.fromkeys(_nasty_texts()))
