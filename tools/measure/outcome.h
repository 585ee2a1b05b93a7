// A value, or how trying a candidate failed: what every step of measuring returns.
#pragma once

#include "schedules/tuning_record.h"

#include <string>
#include <utility>
#include <variant>

namespace unstride {

struct Failure {
    TuningStatus status = TuningStatus::generator_error;
    std::string detail; // the first error, the signal, the limit

    // The candidate had no part in it: no disk, no tools, no connection. It says nothing about the schedule.
    bool of_environment = false;
};

template<typename T>
class [[nodiscard]] Outcome {
public:
    Outcome(T value) : content_(std::in_place_index<0>, std::move(value)) {}
    Outcome(Failure failure) : content_(std::in_place_index<1>, std::move(failure)) {}

    bool ok() const { return content_.index() == 0; }
    explicit operator bool() const { return ok(); }

    // Precondition: ok().
    T &operator*() & { return std::get<0>(content_); }
    const T &operator*() const & { return std::get<0>(content_); }
    T operator*() && { return std::get<0>(std::move(content_)); }
    T *operator->() { return &std::get<0>(content_); }
    const T *operator->() const { return &std::get<0>(content_); }

    // Precondition: !ok().
    const Failure &failure() const { return std::get<1>(content_); }

private:
    std::variant<T, Failure> content_;
};

} // namespace unstride
