// A test fixture whose tests each have an empty folder, which goes away with them.
#pragma once

#include "tools/files.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <optional>
#include <string>
#include <utility>

namespace unstride {

class TemporaryFolderTest : public testing::Test {
protected:
    void SetUp() override {
        auto made = make_temporary_folder("unstride-test");
        ASSERT_TRUE(made.ok()) << made.error();
        folder_.emplace(std::move(*made));
    }

    std::filesystem::path path(const std::string &name) const { return folder_->path() / name; }

    void write(const std::string &name, const std::string &text) const {
        const auto written = write_file_atomically(path(name), text);
        ASSERT_TRUE(written.ok()) << written.error();
    }

private:
    std::optional<TemporaryFolder> folder_;
};

} // namespace unstride
