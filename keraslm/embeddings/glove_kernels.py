"""The loops of GloVe, compiled by numba. Imported by `keraslm.embeddings.glove` alone."""

import math

import numpy as np
from numba import njit, prange

# === Reading ===


@njit(cache=True)
def split_words(text):
    """Words of UTF-8 bytes, by number within this text.

    Returns:
        int32 numbers of the words in their order, -1 after each line; int32 where the first of
        each number starts and ends.
    """
    size = text.size
    slots = np.full(1 << 12, -1, np.int32)  # by digest; at most half full
    ids = np.empty(size + 1, np.int32)  # a word and the space after it take two bytes
    starts, ends = np.empty(size // 2 + 1, np.int32), np.empty(size // 2 + 1, np.int32)
    digests = np.empty(size // 2 + 1, np.uint64)
    number = out = start = 0
    digest = np.uint64(14695981039346656037)  # FNV-1a
    for place in range(size + 1):
        byte = text[place] if place < size else np.uint8(10)
        if byte != 32 and not 9 <= byte <= 13 and not 28 <= byte <= 31:
            digest = (digest ^ np.uint64(byte)) * np.uint64(1099511628211)
            continue
        if place > start:
            digest ^= digest >> np.uint64(32)
            slot = digest & np.uint64(slots.size - 1)
            while slots[slot] >= 0:
                known = slots[slot]
                if digests[known] == digest and ends[known] - starts[known] == place - start:
                    same = 0
                    while same < place - start and text[starts[known] + same] == text[start + same]:
                        same += 1
                    if same == place - start:
                        break
                slot = (slot + np.uint64(1)) & np.uint64(slots.size - 1)
            if slots[slot] < 0:
                slots[slot] = number
                starts[number], ends[number], digests[number] = start, place, digest
                number += 1
                if 2 * number > slots.size:
                    slots = np.full(2 * slots.size, -1, np.int32)
                    for other in range(number):
                        slot = digests[other] & np.uint64(slots.size - 1)
                        while slots[slot] >= 0:
                            slot = (slot + np.uint64(1)) & np.uint64(slots.size - 1)
                        slots[slot] = other
                    slot = digest & np.uint64(slots.size - 1)
                    while slots[slot] != number - 1:
                        slot = (slot + np.uint64(1)) & np.uint64(slots.size - 1)
            ids[out] = slots[slot]
            out += 1
        if byte == 10:
            ids[out] = -1
            out += 1
        start = place + 1
        digest = np.uint64(14695981039346656037)
    return ids[:out], starts[:number], ends[:number]


# === Counting: who stands near whom ===


@njit(cache=True)
def fill_positions(ids, start, positions):
    """Where each word stands: word ``w`` at ``positions[start[w]:start[w + 1]]``."""
    following = start.copy()
    for place in range(ids.size):
        word = ids[place]
        if word >= 0:
            positions[following[word]] = place
            following[word] += 1


@njit(cache=True, parallel=True)
def count_rows(ids, start, positions, bounds, weights, right, sums, seen, columns, values, lengths):
    """Count some blocks of rows at once, one a thread.

    Block ``t`` has the words ``bounds[t]`` to ``bounds[t + 1]``; it fills ``columns[t]`` and
    ``values[t]`` row after row, and ``lengths`` with the number of entries of each row.

    Args:
        weights: float64 ``(window + 1,)``, what a neighbour at each distance counts.
        right: count the neighbours on the right too.
        sums, seen: ``(threads, num_words)``, zeros and anything.
    """
    for t in prange(len(bounds) - 1):
        _count_block(
            ids, start, positions, bounds[t], bounds[t + 1], weights, right, sums[t], seen[t],
            columns[t], values[t], lengths,
        )  # fmt: skip


@njit(cache=True)
def _count_block(
    ids, start, positions, first, last, weights, right, sums, seen, columns, values, lengths
):
    out = 0
    for word in range(first, last):
        found = 0
        for k in range(start[word], start[word + 1]):
            place = positions[k]
            for side in range(2 if right else 1):
                step = 1 if side else -1
                near = place
                for distance in range(1, weights.size):
                    near += step
                    if near < 0 or near >= ids.size:
                        break
                    other = ids[near]
                    if other < 0:  # the end of a sentence
                        break
                    if sums[other] == 0.0:
                        seen[found] = other
                        found += 1
                    sums[other] += weights[distance]
        for m in range(found):
            other = seen[m]
            columns[out] = other
            values[out] = sums[other]
            sums[other] = 0.0
            out += 1
        lengths[word] = found


# === Shuffling ===


@njit(cache=True)
def shuffle(lengths, columns, values, seed, bucket_size, rows_out, columns_out, values_out):
    """Rows of counts as triples in random order: into random buckets, then within each.

    A bucket fits in the processor's cache, and files are written front to back in each bucket.
    """
    np.random.seed(seed)
    num_pairs = columns.size
    num_buckets = max(1, num_pairs // bucket_size)
    end = np.zeros(num_buckets + 1, np.int64)
    for _ in range(num_pairs):
        end[np.random.randint(0, num_buckets) + 1] += 1
    for bucket in range(num_buckets):
        end[bucket + 1] += end[bucket]
    place = end[:-1].copy()
    np.random.seed(seed)  # the same buckets again, which takes no memory
    k = 0
    for row in range(lengths.size):
        for _ in range(lengths[row]):
            bucket = np.random.randint(0, num_buckets)
            p = place[bucket]
            place[bucket] += 1
            rows_out[p] = row
            columns_out[p] = columns[k]
            values_out[p] = values[k]
            k += 1
    for bucket in range(num_buckets):
        for p in range(end[bucket + 1] - 1, end[bucket], -1):
            q = np.random.randint(end[bucket], p + 1)
            rows_out[p], rows_out[q] = rows_out[q], rows_out[p]
            columns_out[p], columns_out[q] = columns_out[q], columns_out[p]
            values_out[p], values_out[q] = values_out[q], values_out[p]


# === Training ===


@njit(cache=True, parallel=True, fastmath=True, error_model="numpy")
def train(rows, columns, values, main, context, main_bias, context_bias, rate, x_max, alpha, parts):
    """One pass of AdaGrad over the pairs, ``parts`` threads without locks. Returns the cost.

    Args:
        main, context: float32 ``(num_words, 2 * width)``: a vector, then the sums of its squared
            gradients, side by side so that one cache line has both.
        main_bias, context_bias: float32 ``(num_words, 2)``, likewise.
    """
    costs = np.zeros(parts * 16)  # a cache line each
    size = rows.size
    for part in prange(parts):
        costs[part * 16] = _train_part(
            rows, columns, values, main, context, main_bias, context_bias, np.float32(rate),
            np.float32(x_max), np.float32(alpha), size * part // parts,
            size * (part + 1) // parts,
        )  # fmt: skip
    return costs.sum()


@njit(cache=True, fastmath=True, error_model="numpy")
def _train_part(
    rows, columns, values, main, context, main_bias, context_bias, rate, x_max, alpha, first, last
):
    width = main.shape[1] // 2
    cost = 0.0
    for k in range(first, last):
        i, j, x = rows[k], columns[k], values[k]
        w, c = main[i], context[j]
        product = np.float32(0.0)
        for d in range(width):
            product += w[d] * c[d]
        error = product + main_bias[i, 0] + context_bias[j, 0] - math.log(x)
        weighted = error if x >= x_max else error * (x / x_max) ** alpha
        cost += 0.5 * weighted * error
        step = weighted * rate
        for d in range(width):
            to_w, to_c = step * c[d], step * w[d]
            new_w = w[d] - to_w / math.sqrt(w[width + d])
            new_c = c[d] - to_c / math.sqrt(c[width + d])
            w[width + d] += to_w * to_w
            c[width + d] += to_c * to_c
            w[d], c[d] = new_w, new_c
        main_bias[i, 0] -= step / math.sqrt(main_bias[i, 1])
        context_bias[j, 0] -= step / math.sqrt(context_bias[j, 1])
        main_bias[i, 1] += step * step
        context_bias[j, 1] += step * step
    return cost
