// The free variables of a phase convolution of two or three axes; vectors are x first.
#pragma once

#include <Halide.h>

#include <vector>

namespace unstride {

struct PhaseVars {
    explicit PhaseVars(std::size_t axes) {
        static const char *const names[3][3] = {{"x", "qx", "u"}, {"y", "qy", "v"}, {"z", "qz", "w"}};
        for (std::size_t axis = 0; axis < axes; axis++) {
            x.emplace_back(names[axis][0]);
            q.emplace_back(names[axis][1]);
            u.emplace_back(names[axis][2]);
        }
    }

    Halide::Var c{"c"}, n{"n"};
    std::vector<Halide::Var> x; // input positions
    std::vector<Halide::Var> q; // phases
    std::vector<Halide::Var> u; // outputs of a phase

    // (c, x, y, [z,] n)
    std::vector<Halide::Var> input() const {
        std::vector<Halide::Var> vars = {c};
        vars.insert(vars.end(), x.begin(), x.end());
        vars.push_back(n);
        return vars;
    }

    // (c, qx, u, qy, v, [qz, w,] n)
    std::vector<Halide::Var> output() const {
        std::vector<Halide::Var> vars = {c};
        for (std::size_t axis = 0; axis < q.size(); axis++) {
            vars.push_back(q[axis]);
            vars.push_back(u[axis]);
        }
        vars.push_back(n);
        return vars;
    }
};

} // namespace unstride
