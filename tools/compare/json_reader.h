// Reads the members of a JSON object one by one and remembers the first that does not fit by its path, such
// as
// "/rows/3/status: 'fine' is no status".
#pragma once

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <array>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace unstride {

class JsonReader {
public:
    // `error` stays empty until something does not fit; nothing is read after that.
    JsonReader(const nlohmann::json &json, std::string path, std::string *error)
        : json_(json), path_(std::move(path)), error_(error) {
        if (!json.is_object()) fail("is no object");
    }

    template<typename Value>
    void required(const char *key, Value *value) {
        require({key});
        optional(key, value);
    }

    template<typename Value>
    void optional(const char *key, Value *value) {
        if (const nlohmann::json *found = find(key)) read(*found, path_ + "/" + key, value);
    }

    // That the members are there.
    void require(std::initializer_list<const char *> keys) {
        for (const char *key : keys) {
            if (error_->empty() && !json_.contains(key)) fail(key, "is missing");
        }
    }

    // A member that function(json, path, error) -> Value reads.
    template<typename Value, typename Function>
    void object(const char *key, const Function &function, Value *value) {
        if (const nlohmann::json *found = find(key)) *value = function(*found, path_ + "/" + key, error_);
    }
    template<typename Value, typename Function>
    void objects(const char *key, const Function &function, std::vector<Value> *values) {
        const nlohmann::json *found = find(key);
        if (found == nullptr) return;
        const std::string path = path_ + "/" + key;
        if (!found->is_array()) return fail_at(path, "is no list");
        values->reserve(found->size());
        for (std::size_t i = 0; i < found->size() && error_->empty(); i++)
            values->push_back(function((*found)[i], fmt::format("{}/{}", path, i), error_));
    }

    // A member that function(json, &reason) -> optional<Value> reads.
    template<typename Value, typename Function>
    void part(const char *key, const Function &function, Value *value) {
        const nlohmann::json *found = find(key);
        if (found == nullptr) return;
        std::string reason;
        if (auto given = function(*found, &reason))
            *value = std::move(*given);
        else
            fail_at(path_ + "/" + key, reason);
    }

    void fail(const std::string &reason) { fail_at(path_, reason); }
    void fail(const char *key, const std::string &reason) { fail_at(path_ + "/" + key, reason); }

private:
    const nlohmann::json &json_;
    std::string path_;
    std::string *error_;

    const nlohmann::json *find(const char *key) const {
        if (!error_->empty()) return nullptr;
        const auto found = json_.find(key);
        return found == json_.end() ? nullptr : &*found;
    }

    void fail_at(const std::string &path, const std::string &reason) {
        if (error_->empty()) *error_ = fmt::format("{}: {}", path.empty() ? "/" : path, reason);
    }

    void read(const nlohmann::json &json, const std::string &path, std::string *value) {
        if (!json.is_string()) return fail_at(path, "is no text");
        *value = json.get<std::string>();
    }
    void read(const nlohmann::json &json, const std::string &path, bool *value) {
        if (!json.is_boolean()) return fail_at(path, "is neither true nor false");
        *value = json.get<bool>();
    }
    void read(const nlohmann::json &json, const std::string &path, double *value) {
        if (!json.is_number()) return fail_at(path, "is no number");
        *value = json.get<double>();
        if (!std::isfinite(*value)) fail_at(path, "is not finite");
    }
    // Whole numbers: none of what is counted here is negative.
    template<typename Integer>
    void read_count(const nlohmann::json &json, const std::string &path, Integer *value) {
        if (!json.is_number_integer()) return fail_at(path, "is no whole number");
        const bool positive = json.is_number_unsigned() || json.get<std::int64_t>() >= 0;
        if (!positive || json.get<std::uint64_t>() > std::uint64_t{std::numeric_limits<Integer>::max()})
            return fail_at(path, "is out of range");
        *value = json.get<Integer>();
    }
    void read(const nlohmann::json &json, const std::string &path, int *value) {
        read_count(json, path, value);
    }
    void read(const nlohmann::json &json, const std::string &path, std::int64_t *value) {
        read_count(json, path, value);
    }
    void read(const nlohmann::json &json, const std::string &path, std::uint64_t *value) {
        read_count(json, path, value);
    }
    template<typename Value>
    void read(const nlohmann::json &json, const std::string &path, std::optional<Value> *value) {
        read(json, path, &value->emplace());
    }
    template<typename Value>
    void read(const nlohmann::json &json, const std::string &path, std::vector<Value> *values) {
        if (!json.is_array()) return fail_at(path, "is no list");
        for (std::size_t i = 0; i < json.size() && error_->empty(); i++)
            read(json[i], fmt::format("{}/{}", path, i), &values->emplace_back());
    }
    void read(const nlohmann::json &json, const std::string &path, std::array<double, 2> *values) {
        if (!json.is_array() || json.size() != 2) return fail_at(path, "is no pair of numbers");
        for (std::size_t i = 0; i < 2; i++)
            read(json[i], fmt::format("{}/{}", path, i), &(*values)[i]);
    }
    template<typename Value>
    void read(const nlohmann::json &json, const std::string &path, std::map<std::string, Value> *values) {
        if (!json.is_object()) return fail_at(path, "is no object");
        for (const auto &[name, element] : json.items())
            read(element, fmt::format("{}/{}", path, name), &(*values)[name]);
    }
};

} // namespace unstride
