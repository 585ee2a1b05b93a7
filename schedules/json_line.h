// One line of a JSON Lines file, split without building a tree: a database is mostly raw samples, which a
// look-up never reads.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace unstride {

struct JsonMember {
    std::string_view key, value; // as written: a key without its quotes, a value as JSON text
};

// The members of the JSON object that `text` is. Refuses, with the reason, whatever JSON's grammar does not
// allow; that strings are UTF-8 is not checked.
std::optional<std::vector<JsonMember>> split_object(std::string_view text, std::string *error);

} // namespace unstride
