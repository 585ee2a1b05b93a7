// The safetensors format: tensors with names in one file.
#pragma once

#include "compiler/result.h"
#include "compiler/weights/tensor.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace unstride {

// A file whose header has been checked in full: every tensor's bytes lie in the file, as many as its type and
// shape need, and together they cover the file without gap or overlap.
class SafetensorsFile {
public:
    // Every error begins with the path.
    static Result<SafetensorsFile> read(const std::filesystem::path &path);

    // The same for bytes in memory; errors begin with `name`.
    static Result<SafetensorsFile> parse(std::string bytes, const std::string &name);

    const std::string &name() const { return name_; }
    std::vector<std::string> tensor_names() const; // sorted
    bool contains(const std::string &tensor) const { return entries_.count(tensor) != 0; }

    // The tensor's numbers as f32: F32 bit for bit, F16 and BF16 exactly, F64 rounded. An error for a tensor
    // that is not there, for other types, and for a finite F64 number beyond f32.
    Result<Tensor> tensor(const std::string &tensor) const;

private:
    struct Entry {
        std::string type;
        std::vector<std::int64_t> shape;
        std::size_t begin = 0, end = 0; // in the bytes of the file
    };
    std::string name_, bytes_;
    std::map<std::string, Entry> entries_;
};

} // namespace unstride
