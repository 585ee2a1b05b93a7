// Everything that a built layer is checked for, in a process that may crash.
#pragma once

#include "compiler/language/layer.h"
#include "compiler/result.h"

#include <cstdint>
#include <filesystem>
#include <string>

namespace unstride::chains {

// How many results were compared, or what is wrong. Dynamic sizes are given two choices each; one that the
// language refuses must be refused by the library too. For each: data of the seed against the reference, by
// the bound of the form that the library has of the layer; the same bits for one and for three threads; and
// on exact data, where the form can be exact, the reference's bits.
Result<int> check_layer(const std::filesystem::path &shared_object, const Layer &layer, std::uint64_t seed);

// The same in a child process with a time limit; how the child ended is what is wrong where it did not
// answer.
Result<int> check_layer_in_child(const std::filesystem::path &shared_object, const Layer &layer,
                                 std::uint64_t seed);

} // namespace unstride::chains
