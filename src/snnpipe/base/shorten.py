"""Shortens texts for one column of a table, so that different texts stay different."""

import hashlib
import re
from collections.abc import Collection, Sequence
from difflib import SequenceMatcher
from itertools import takewhile

GAP = "..."
_DIGITS = 4
"""Length of the digest at the end of texts that would look the same when cut."""

_WORDS = re.compile(r"([\s,;/\-]+|\.(?=[A-Za-z_]))")


def shorten(texts: Sequence[str], width: int) -> list[str]:
    """Return texts with the long ones cut to a width. Different texts stay different.

    Words that all long texts share are removed first, from the end, only as many as needed. A text that is still too
    long keeps the part in which it differs from the text most similar to it.

    Parameters
    ----------
    texts
        The texts. The result has their order, and equal texts stay equal.
    width
        Most characters of a text. With a width below six, different texts may become equal.
    """
    long = list(dict.fromkeys(text for text in texts if len(text) > width))
    if not long:
        return list(texts)
    shown = dict(zip(long, _without_shared_words(long, width), strict=True))
    result: dict[str, str] = {text: text for text in texts if len(text) <= width}
    for text in long:
        others = [shown.get(other, other) for other in dict.fromkeys(texts) if other != text]
        cut = shown[text] if len(shown[text]) <= width else _around_difference(shown[text], others, width)
        result[text] = _unlike(cut, text, result.values(), width)
    return [result[text] for text in texts]


def _without_shared_words(texts: Sequence[str], width: int) -> list[str]:
    """Return texts with gaps in place of shared words, as few as make them fit. A single text stays as it is."""
    if len(texts) < 2:
        return list(texts)
    words = [[word for word in _WORDS.split(text) if word] for text in texts]
    shared = words[0]
    for other in words[1:]:
        blocks = SequenceMatcher(None, shared, other, autojunk=False).get_matching_blocks()
        shared = [word for block in blocks for word in shared[block.a : block.a + block.size]]
    at = [_places(shared, of_text) for of_text in words]
    for kept in range(len(shared), -1, -1):
        cut = [_with_gaps(of_text, set(places[kept:])) for of_text, places in zip(words, at, strict=True)]
        if max(map(len, cut)) <= width:
            break
    return cut


def _places(shared: Sequence[str], words: Sequence[str]) -> list[int]:
    """Return the indices of the shared words within a text's words. Both have the same order."""
    places: list[int] = []
    for word in shared:
        places.append(words.index(word, places[-1] + 1 if places else 0))
    return places


def _with_gaps(words: Sequence[str], dropped: Collection[int]) -> str:
    """Return the words as a text, with a gap in place of each run of dropped words that is longer than a gap."""
    text, run = "", ""
    for i, word in enumerate([*words, ""]):
        if i in dropped:
            run += word
        else:
            text = text + run + word if len(run) <= len(GAP) else text.rstrip(".") + GAP + word
            run = ""
    return text


def _around_difference(text: str, others: Sequence[str], width: int) -> str:
    """Return a part of a text, at most ``width`` characters long, that shows its difference from the other texts.

    It is the text's beginning and end, or its end, or the part around the first difference: the first of these that no
    other text shares.
    """
    alike = max((_alike(text, other) for other in others), default=0)
    room = max(width - len(GAP), 1)
    if alike < room // 2:
        return _without_middle(text, width)
    end = text[-room:]
    if not any(other.endswith(end) for other in others):
        return GAP + end
    return GAP + _without_middle(text[alike - room // 4 :], room)


def _alike(a: str, b: str) -> int:
    """Return the length of the longest common beginning of two texts."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def _without_middle(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    ends = max(width - len(GAP), 1)
    last = ends // 2
    return f"{text[: ends - last]}{GAP}{text[len(text) - last :]}"[: max(width, 0)]


def _unlike(cut: str, text: str, others: Collection[str], width: int) -> str:
    """Return a cut text, with a digest at its end if another cut text is equal."""
    if cut not in others:
        return cut
    digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
    return f"{cut[: max(width - _DIGITS - 1, 0)]}~{digest}"[:width]
