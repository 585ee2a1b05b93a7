// Read from what Linux says about the first processor.
#include "tools/library/host_machine.h"

#include <fmt/format.h>

#include <fstream>
#include <sched.h>
#include <string>
#include <thread>

namespace unstride {

namespace {

std::string first_line(const std::string &path) {
    std::string line;
    std::ifstream file(path);
    std::getline(file, line);
    return line;
}

// What /proc/cpuinfo says of a key at its first processor.
std::string processor_field(const std::string &key) {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);) {
        const std::size_t colon = line.find(':');
        if (colon == std::string::npos || line.substr(0, line.find_last_not_of(" \t", colon - 1) + 1) != key)
            continue;
        const std::size_t begin = line.find_first_not_of(' ', colon + 1);
        return begin == std::string::npos ? "" : line.substr(begin);
    }
    return "";
}

// "32K" in bytes.
std::int64_t cache_bytes(const std::string &text) {
    std::int64_t bytes = 0;
    std::size_t i = 0;
    for (; i < text.size() && text[i] >= '0' && text[i] <= '9'; i++)
        bytes = bytes * 10 + (text[i] - '0');
    if (i == text.size()) return bytes;
    return bytes * (text[i] == 'K' ? 1024 : text[i] == 'M' ? 1024 * 1024 : 1);
}

int processors() {
    cpu_set_t set;
    if (::sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    return static_cast<int>(std::thread::hardware_concurrency());
}

} // namespace

Machine host_machine() {
    Machine machine;
    machine.vendor = processor_field("vendor_id");
    machine.model = processor_field("model name");
    if (machine.vendor.empty()) { // AArch64 has numbers
        machine.vendor = processor_field("CPU implementer");
        machine.model = processor_field("CPU part");
    }
    machine.threads = processors();
    for (int index = 0; index < 8; index++) {
        const std::string folder = fmt::format("/sys/devices/system/cpu/cpu0/cache/index{}/", index);
        const std::string level = first_line(folder + "level"), type = first_line(folder + "type");
        const std::int64_t bytes = cache_bytes(first_line(folder + "size"));
        if (level == "1" && type == "Data") machine.l1d_bytes = bytes;
        if (level == "2" && type != "Instruction") machine.l2_bytes = bytes;
    }
    return machine;
}

} // namespace unstride
