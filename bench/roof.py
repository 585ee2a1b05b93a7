"""What a layer must take at least: its multiply-adds and its bytes at the rates measured on a machine."""

from dataclasses import dataclass

ARITHMETIC = "multiply-adds"


@dataclass
class Roof:
    """`limit` is what takes longest: ARITHMETIC, or the level of memory that holds all tensors."""

    nanoseconds: float
    limit: str


def rate_of(entries, threads, key, default=None):
    return next((entry[key] for entry in entries if entry["threads"] == threads), default)


def level_of(source, size, threads):
    """The smallest level of memory that holds so many bytes, and its bytes a second."""
    capacities = source.get("caches", {})
    rates = {
        entry["level"]: entry["bytes_per_s"]
        for entry in source.get("bandwidths", [])
        if entry["threads"] == threads and entry["bytes_per_s"] > 0
    }
    for level, capacity in sorted(capacities.items(), key=lambda item: item[1]):
        shared = 1 if level == "L3" else threads
        if level in rates and size <= capacity * shared:
            return level, rates[level]
    return ("memory", rates["memory"]) if "memory" in rates else (None, None)


def roof_of(row, source):
    """The Roof of a row by the multiplications that are really made; None where nothing was measured."""
    parts = []
    products = row.get("products", row.get("multiplications"))
    flops = rate_of(source.get("peaks", []), row["threads"], "flops")
    if products and flops:
        parts.append(Roof(2e9 * products / flops, ARITHMETIC))
    if row.get("compulsory_bytes"):
        level, rate = level_of(source, row["compulsory_bytes"], row["threads"])
        if rate:
            parts.append(Roof(1e9 * row["compulsory_bytes"] / rate, level))
    return max(parts, key=lambda part: part.nanoseconds, default=None)
