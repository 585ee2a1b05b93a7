// The records in schedules/db/: every line can be read, what was chosen can be built, and every layer of a
// published network was tuned.
#include "compiler/language/parser.h"
#include "compiler/language/printer.h"
#include "schedules/database.h"
#include "schedules/lookup.h"
#include "tests/unit/lowered_layer.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

namespace unstride {
namespace {

namespace fs = std::filesystem;

const fs::path source = UNSTRIDE_SOURCE_FOLDER;

const Database &shipped() {
    static const Database database = [] {
        Database result;
        result.add(source / "schedules/db", RecordOrigin::shipped);
        return result;
    }();
    return database;
}

// Chains of the layers of published networks; dense.layers and forms.layers hold others.
std::vector<std::string> network_layers() {
    std::vector<std::string> chains;
    for (const auto &file : fs::directory_iterator(source / "bench/layers")) {
        if (file.path().stem() == "dense" || file.path().stem() == "forms") continue;
        std::stringstream text;
        text << std::ifstream(file.path()).rdbuf();
        for (const Layer &layer : parse_layers(text.str(), file.path().string()).layers)
            chains.push_back(print_chain(layer));
    }
    EXPECT_GT(chains.size(), 40u);
    return chains;
}

TEST(ShippedRecords, CanBeRead) {
    for (const std::string &problem : shipped().problems())
        ADD_FAILURE() << problem;
    for (const DatabaseEntry &entry : shipped().entries()) {
        std::string error;
        EXPECT_TRUE(shipped().read(entry, &error)) << shipped().place(entry) << ": " << error;
    }
}

TEST(ShippedRecords, CoverTheNetworks) {
    std::map<std::string, std::set<std::string>> chosen; // layers by instruction set
    for (const DatabaseEntry &entry : shipped().entries()) {
        if (entry.chosen) chosen[shipped().instruction_set(entry)].insert(shipped().layer_text(entry));
    }
    for (const char *set : {"avx512", "avx2", "neon"}) {
        for (const std::string &chain : network_layers())
            EXPECT_TRUE(chosen[set].contains(chain)) << set << ": " << chain;
    }
}

TEST(ShippedRecords, AnswerExactlyOnTheirMachine) {
    const ScheduleLookup lookup(shipped());
    for (const DatabaseEntry &entry : shipped().entries()) {
        if (!entry.chosen) continue;
        SCOPED_TRACE(shipped().place(entry));
        const std::string &chain = shipped().layer_text(entry);
        const std::string &set = shipped().instruction_set(entry);
        const auto violated = violated_constraint(lowered(chain), facts(set), shipped().schedule(entry));
        EXPECT_FALSE(violated.has_value()) << *violated;
        const LookupContext context{shipped().machine(entry), shipped().tools(entry)};
        EXPECT_EQ(lookup.find(chain, lowered(chain), facts(set), context).grade, LookupGrade::exact);
    }
}

} // namespace
} // namespace unstride
