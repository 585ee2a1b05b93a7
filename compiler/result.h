// A value or the text of the error that prevented it: what every function that can fail returns.
#pragma once

#include <string>
#include <utility>
#include <variant>

namespace unstride {

struct Error {
    std::string text;
};

template<typename T>
class [[nodiscard]] Result {
public:
    Result(T value) : content_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : content_(std::in_place_index<1>, std::move(error)) {}

    bool ok() const { return content_.index() == 0; }
    explicit operator bool() const { return ok(); }

    // Precondition: ok(). Of a Result that is about to go, the value is moved out, so that no reference is
    // left behind.
    T &value() & { return std::get<0>(content_); }
    const T &value() const & { return std::get<0>(content_); }
    T value() && { return std::get<0>(std::move(content_)); }
    T &operator*() & { return value(); }
    const T &operator*() const & { return value(); }
    T operator*() && { return std::move(*this).value(); }
    T *operator->() { return &value(); }
    const T *operator->() const { return &value(); }

    // Precondition: !ok().
    const std::string &error() const { return std::get<1>(content_).text; }

private:
    std::variant<T, Error> content_;
};

// Success, or the text of an error.
template<>
class [[nodiscard]] Result<void> {
public:
    Result() = default;
    Result(Error error) : text_(std::move(error.text)), failed_(true) {}

    bool ok() const { return !failed_; }
    explicit operator bool() const { return ok(); }

    // Precondition: !ok().
    const std::string &error() const { return text_; }

private:
    std::string text_;
    bool failed_ = false;
};

} // namespace unstride
