"""The processors and caches of this machine, as Linux tells of them."""

import os


def distinct_cores(processors):
    """The processors, one of every core before the second of any."""

    def siblings(processor):
        try:
            with open(
                f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list", encoding="ascii"
            ) as file:
                return file.read().strip()
        except OSError:
            return str(processor)

    first, second, seen = [], [], set()
    for processor in sorted(processors):
        core = siblings(processor)
        (second if core in seen else first).append(processor)
        seen.add(core)
    return first + second


def stolen_seconds(processors):
    """For how long the host of a virtual machine has kept the processors from running, together; 0 where the
    system does not tell."""
    total, names = 0, {f"cpu{processor}" for processor in processors}
    try:
        with open("/proc/stat", encoding="ascii") as file:
            for line in file:
                name, *ticks = line.split()
                if name in names and len(ticks) > 7:  # user, nice, system, idle, iowait, irq, softirq, steal
                    total += int(ticks[7])
    except (OSError, ValueError):
        return 0.0
    return total / os.sysconf("SC_CLK_TCK")


def size_of_cache(folder):
    """Bytes, from "2048K"."""
    with open(os.path.join(folder, "size"), encoding="ascii") as file:
        text = file.read().strip()
    return int(text.rstrip("KMG")) * {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1], 1)


def cache_sizes():
    """{"L2": bytes, "L3": bytes} of the first processor, as far as the system tells."""
    sizes, root = {}, "/sys/devices/system/cpu/cpu0/cache"
    try:
        for name in sorted(os.listdir(root)):
            folder = os.path.join(root, name)
            if name.startswith("index"):
                with open(os.path.join(folder, "level"), encoding="ascii") as file:
                    sizes[f"L{file.read().strip()}"] = size_of_cache(folder)
    except (OSError, ValueError):
        return {}
    return {level: size for level, size in sizes.items() if level != "L1"}
