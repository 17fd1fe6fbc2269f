"""The shape of each line, by a compiled loop: lines that the expressions of `parsers/lines` cannot tell apart, but for their ids and numbers.

Importing this file imports numba and loads the compiled code (from its cache after the first time). What a shape is stands in
`shapes.py`. Lines come as Arrow has them: `data[offsets[i]:offsets[i + 1]]`.
"""

from __future__ import annotations

import numpy as np

from parsers.folding_kernel import _compiled, _kept

# What stands in a shape for the characters of an id (the first one says how it begins), a digit, and a digit from 1 to 5.
# No line that has a shape holds these bytes.
LETTER_FIRST, DIGIT_FIRST, STATUS_FIRST, DIGIT, LOW_DIGIT = 2, 3, 4, 5, 6
# Characters within which a header ends, as in `parsers/lines`, and bytes of a line that is too long to have a shape.
_HEAD = 256
_LONGEST = 4096

# What each byte is: of a word (a digit, a hexadecimal letter, another one), a control character that has no place in a line,
# or anything else.
_OTHER, _NUMBER, _HEX, _WORD, _CONTROL = 0, 1, 2, 3, 4
CLASSES = np.zeros(256, np.int64)
CLASSES[:32] = _CONTROL
CLASSES[[9, 10, 13]] = _OTHER
CLASSES[ord("0") : ord("9") + 1] = _NUMBER
CLASSES[ord("A") : ord("Z") + 1] = CLASSES[ord("a") : ord("z") + 1] = CLASSES[ord("_")] = _WORD
CLASSES[ord("a") : ord("f") + 1] = _HEX

_u = np.uint64


@_compiled
def shape_lines(
    data: np.ndarray,
    offsets: np.ndarray,
    flags: np.ndarray,
    classes: np.ndarray,
    codes: np.ndarray,
    firsts: np.ndarray,
    words: np.ndarray,
    starts: np.ndarray,
    sizes: np.ndarray,
    hashes: np.ndarray,
    slots: np.ndarray,
) -> int:
    """Shapes of lines; `codes[i]` becomes the number of line i's shape, or -1. Gives how many shapes there are.

    `firsts[k]` becomes the first line of shape k, whose text, `flags` of the line in front, is `sizes[k]` bytes of `words` from
    byte `8 * starts[k]` on.
    """
    arena = words.view(np.uint8)
    results = 0
    first_word = 0
    for line in range(offsets.size - 1):
        start, stop = int(offsets[_u(line)]), int(offsets[_u(line + 1)])
        codes[_u(line)] = -1
        if stop - start > _LONGEST:
            continue
        top = first_word * 8
        arena[_u(top)] = flags[_u(line)]
        # What is at `at` goes to `at + move`: a shape is as long as its line.
        move = top + 1 - start
        at = start
        characters = 0
        odd = False
        while at < stop:
            byte = data[_u(at)]
            kind = int(classes[byte])
            if kind == _OTHER:
                arena[_u(at + move)] = byte
                if byte & 0xC0 != 0x80:
                    characters += 1
                at += 1
                continue
            if kind == _CONTROL:
                odd = True
                break
            begin = at
            digits = 0
            letters = 0
            others = 0
            while True:
                if kind == _NUMBER:
                    digits += 1
                elif kind == _HEX:
                    letters += 1
                else:
                    others += 1
                arena[_u(at + move)] = byte
                at += 1
                if at == stop:
                    break
                byte = data[_u(at)]
                kind = int(classes[byte])
                if kind == _OTHER or kind == _CONTROL:
                    break
            if digits == 0:
                characters += at - begin
                continue
            end = at
            if others == 0 and letters > 0:
                if end - begin == 8 and stop - end >= 28 and data[_u(end)] == 45:
                    # Eight, and then three times four and twelve.
                    last = end + 28
                    right = last == stop or classes[data[_u(last)]] == _OTHER
                    for i in range(28):
                        one = data[_u(end + i)]
                        if i == 0 or i == 5 or i == 10 or i == 15:
                            right = right and one == 45
                        else:
                            right = right and (classes[one] == _NUMBER or classes[one] == _HEX)
                    if right:
                        end = last
                right = end - begin >= 16 and not (data[_u(end - 1)] == 51 and data[_u(end - 2)] == 98)
                if right and characters < _HEAD and characters + end - begin > _HEAD:
                    right = False
                if right:
                    right = False
                    for i in range(8):
                        right = right or classes[data[_u(begin + i)]] == _NUMBER
                if right:
                    first = LETTER_FIRST
                    if classes[data[_u(begin)]] == _NUMBER:
                        first = DIGIT_FIRST
                        if (
                            49 <= data[_u(begin)] <= 53
                            and classes[data[_u(begin + 1)]] == _NUMBER
                            and classes[data[_u(begin + 2)]] == _NUMBER
                            and classes[data[_u(begin + 3)]] == _HEX
                        ):
                            first = STATUS_FIRST
                    for i in range(begin, end):
                        arena[_u(i + move)] = 45 if data[_u(i)] == 45 else LETTER_FIRST
                    arena[_u(begin + move)] = first
                    characters += end - begin
                    at = end
                    continue
            characters += at - begin
            # Runs of digits within the word.
            i = begin
            while i < at:
                if classes[data[_u(i)]] != _NUMBER:
                    i += 1
                    continue
                run = i
                while i < at and classes[data[_u(i)]] == _NUMBER:
                    i += 1
                size = i - run
                digit = data[_u(run)]
                before = data[_u(run - 1)] if run > start else 0
                behind = data[_u(i)] if i < stop else 0
                # Digits that the expressions ask for: `b3`, `%3A`, `=1-`, `>1 `, `00-`, `#0 `, `#012`.
                if size == 1 and digit == 51 and (before == 98 or before == 66 or before == 37):
                    continue
                if size == 1 and digit == 49 and (before == 61 or before == 62):
                    continue
                if size == 2 and digit == 48 and data[_u(run + 1)] == 48 and behind == 45:
                    continue
                if digit == 48 and before == 35:
                    continue
                for j in range(run, i):
                    arena[_u(j + move)] = DIGIT
                # A status begins with 1 to 5.
                if size == 3 and 49 <= digit <= 53:
                    arena[_u(run + move)] = LOW_DIGIT
        if odd:
            continue
        code = _kept(words, first_word, stop - start + 1, results, slots, hashes, starts, sizes)
        codes[_u(line)] = code
        if code == results:
            firsts[_u(code)] = line
            results += 1
            first_word += (stop - start + 8) >> 3
    return results
