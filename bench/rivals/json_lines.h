// One JSON object a line: how the driver talks to every program of the comparison.
#pragma once

#include <nlohmann/json.hpp>

#include <functional>

namespace unstride::bench {

// Answers each request of standard input with what `answer` makes of it, until the input ends; an exception
// becomes {"error":TEXT}. What libraries print to standard output goes to standard error instead, so that
// only answers stand there. The exit code of the program.
int serve_lines(const std::function<nlohmann::json(const nlohmann::json &)> &answer);

} // namespace unstride::bench
