"""The section of the README on speed, from a finished benchmark."""

from __future__ import annotations

from collections.abc import Iterator

from suite.contenders import ENGINES
from suite.corpora import SOME
from suite.result import Result

BEGIN, END = "<!-- how fast: begin (written by benchmarks/render.py) -->", "<!-- how fast: end -->"

HEADING = """## How fast

"""

EXPLANATION = """
MB are of JSON Lines. `ismpack convert` reads, checks, renders, tokenizes, packs, writes to disk and verifies what it
wrote. TRL's part is `SFTTrainer`'s preparation, with masks for assistant answers and packing, of conversations that are
read already. The bare engines encode the texts that ismpack encodes, and keep nothing. Imports and the loading of
tokenizers are left out, except where it says `with start-up`.

`python benchmarks/run.py INPUT -t TOKENIZER --goals` measures all of it on your data and machine, in turns.
[benchmarks/LOG.md](benchmarks/LOG.md) tells what was tried and did not pay.
"""


def section(result: Result) -> str:
    """The whole section, as it is first put into the README."""
    return f"{HEADING}{BEGIN}\n{figures(result)}{END}\n{EXPLANATION}"


def rewritten(readme: str, result: Result) -> str:
    """A README with new figures between the two marks.

    Raises:
        ValueError: The marks are not there, once each and in order.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ValueError("the README does not have the two marks, once each and in order")
    return f"{before}{BEGIN}\n{figures(result)}{END}{after}"


def figures(result: Result) -> str:
    """What was measured, in Markdown."""
    rows = "".join(f"| {' | '.join(cells)} |\n" for cells in _rows(result))
    notes = "".join(f"- {note}\n" for note in _notes(result))
    head = "| | at once | MB/s | Mtok/s | peak memory | time, ismpack = 1 |\n|---|--:|--:|--:|--:|--:|\n"
    return f"{_conditions(result)}\n\n{head}{rows}\n{notes}"


def _conditions(result: Result) -> str:
    machine, setting = result.content["machine"], result.content["setting"]
    versions, size = result.content["versions"], result.content["corpora"]["input"]
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_bytes'] / 1e9:.0f} GB"
    used = ", ".join(
        f"{name} {versions[name]}" for name in ("python", "tokenizers", *ENGINES, "trl") if versions.get(name)
    )
    return (
        f"Measured on {where} ({used}): {size['bytes'] / 1e6:,.1f} MB of JSON Lines with {size['records']:,} "
        f"records, tokenizer {setting['tokenizer']}, rows of {setting['max_length']:,} tokens. "
        f"Rounds, of which medians are shown: {setting['rounds']}."
    )


def _rows(result: Result) -> Iterator[tuple[str, ...]]:
    widths = sorted({1, result.workers})
    for n in widths:
        yield from _row(result, f"convert-{n}", "`ismpack convert`, with start-up", n, figure="wall", peak=True)
    for n in widths:
        yield from _row(result, f"convert-{n}", "`ismpack convert`, without start-up", n)
    for n in widths:
        yield from _row(result, f"trl-{n}", f"TRL {result.content['versions']['trl']}{_part(result)}", n, peak=True)
    for engine in ENGINES:
        for n in widths:
            yield from _row(result, f"encode-{engine}-{n}", f"{engine}, encoding only", n)
    for n in widths:
        yield from _row(result, f"hf-{n}", f"HF tokenizers, encoding only{_part(result)}", n)


def _row(
    result: Result, name: str, text: str, width: int, *, figure: str = "seconds", peak: bool = False
) -> Iterator[tuple[str, ...]]:
    """The row of a contender, if it was measured."""
    if not result.has(name):
        return
    memory = result.peak(name) if peak else None
    cells = (
        _number(result.speed(name, figure)),
        _number(result.token_speed(name, figure)),
        f"{memory / 1e9:.2f} GB" if memory else "",
        _number(result.times(name, f"convert-{width}", figure, "seconds")),
    )
    yield (text, str(width), *cells)


def _part(result: Result) -> str:
    """Says so if slow contenders did not get the whole input."""
    slow = result.content["corpora"].get("slice")
    whole = result.content["corpora"]["input"]
    return f" (first {slow['bytes'] / 1e6:,.1f} MB)" if slow and slow["bytes"] < whole["bytes"] else ""


def _notes(result: Result) -> Iterator[str]:
    n = result.workers
    if result.has(f"repeated-{n}"):
        size = result.size(f"repeated-{n}") or 0
        yield (
            f"{size / 1e6:,.0f} MB: {_number(result.speed(f'repeated-{n}'))} MB/s without start-up, "
            f"peak memory of all processes {(result.peak(f'repeated-{n}') or 0) / 1e9:.2f} GB"
        )
    if result.has("help"):
        seconds = {
            (cache, size): _number(result.figure(f"start-{cache}-{size}", "startup" if size == "many" else "wall"))
            for cache in ("empty", "filled")
            for size in ("few", "many")
        }
        yield (
            f"Start-up: {seconds['empty', 'many']} s with a new tokenizer, {seconds['filled', 'many']} s with one that "
            f"was used before. A whole run on {SOME} records takes {seconds['empty', 'few']} and "
            f"{seconds['filled', 'few']} s, `ismpack --help` {_number(result.figure('help'))} s"
        )
    if result.has("verify"):
        yield (
            f"`ismpack verify` on one core: {_number(result.token_speed('verify'))} Mtok/s, "
            f"{_number(result.times('verify', 'column_sums'))} times the time of `np.sum` over the same columns"
        )
    yield from _packing_notes(result)


def _packing_notes(result: Result) -> Iterator[str]:
    with_tokens, _, most = result.content["setting"]["lengths"]
    if result.has(f"assign-{most}"):
        yield f"Packing: rows for {most:,} lengths in {_number(result.figure(f'assign-{most}'))} s on one core"
    trl = f"pack-trl-{with_tokens}"
    if result.has(trl):
        mine = f"pack-{with_tokens}"
        yield (
            f"Packing {with_tokens:,} samples with their tokens: {_number(result.figure(mine))} s, "
            f"{100 * (result.figure(mine, 'fill') or 0):.2f} % full; TRL {_number(result.figure(trl))} s, "
            f"{100 * (result.figure(trl, 'fill') or 0):.2f} % full"
        )


def _number(value: float | None) -> str:
    """Three digits that count."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
