// Loops for tests of lowering passes: written by hand, and run through to see what is prefetched when.
#pragma once

#include <Halide.h>

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>

namespace unstride {

inline Halide::Expr variable(const std::string &name) {
    return Halide::Internal::Variable::make(Halide::Int(32), name);
}

inline Halide::Internal::Stmt loop(const std::string &name, const Halide::Expr &extent,
                                   const Halide::Internal::Stmt &body,
                                   Halide::Internal::ForType type = Halide::Internal::ForType::Serial) {
    return Halide::Internal::For::make(name, 0, extent, type, Halide::Partition::Auto,
                                       Halide::DeviceAPI::None, body);
}

// Runs loops whose only calls are prefetches of one tensor.
class RunPrefetches : public Halide::Internal::IRVisitor {
public:
    // Told the place of each prefetch; value(name) is that of a loop's variable then.
    using Fetched = std::function<void(std::int64_t place, const RunPrefetches &run)>;
    RunPrefetches(std::string tensor, Fetched fetched)
        : tensor(std::move(tensor)), fetched(std::move(fetched)) {}

    std::int64_t value(const std::string &name) const { return number(values.at(name)); }

protected:
    using IRVisitor::visit;
    void visit(const Halide::Internal::For *op) override {
        const std::int64_t extent = number(op->extent);
        for (int i = 0; i < extent; i++) {
            values[op->name] = i;
            op->body.accept(this);
        }
    }
    void visit(const Halide::Internal::LetStmt *op) override {
        values[op->name] = static_cast<int>(number(op->value));
        op->body.accept(this);
    }
    void visit(const Halide::Internal::IfThenElse *op) override {
        using namespace Halide::Internal;
        if (is_const_one(simplify(substitute(values, op->condition)))) op->then_case.accept(this);
    }
    void visit(const Halide::Internal::Call *op) override {
        ASSERT_TRUE(op->is_intrinsic(Halide::Internal::Call::prefetch));
        EXPECT_EQ(op->args[0].as<Halide::Internal::Variable>()->name, tensor);
        fetched(number(op->args[1]), *this);
    }

private:
    const std::string tensor;
    const Fetched fetched;
    std::map<std::string, Halide::Expr> values;

    std::int64_t number(const Halide::Expr &expression) const {
        using namespace Halide::Internal;
        return *as_const_int(simplify(substitute(values, expression)));
    }
};

} // namespace unstride
