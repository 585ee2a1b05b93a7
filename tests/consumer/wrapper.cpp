// Uses a library `tiny` through the C++ header. With the argument `spoil` it must fail; a wrong shape must be
// refused.
#include "tiny.h"

#include <unstride/unstride.hpp>

#include "problem.h"

#include <string>

namespace rt = unstride::runtime;

int main(int argc, char **argv) {
    const bool spoil = argc > 1 && std::string(argv[1]) == "spoil";
    const rt::Library library(tiny_library());
    if (const rt::Status status = library.check(); !status)
        return std::printf("%s\n", status.message().c_str()), 1;
    const rt::Layer layer = library.layer(library.find("wide"));
    problem p = new_problem(layer.get());
    if (spoil) p.kernel[5] += 1;

    rt::Shape shape;
    if (const rt::Status status = layer.output_shape(rt::Shape(p.input_shape, p.input_shape + 4), shape);
        !status)
        return 1;
    if (shape != rt::Shape(p.output_shape, p.output_shape + 4)) return std::printf("wrong output shape\n"), 1;
    rt::AlignedMemory packed;
    if (const rt::Status status = layer.pack(p.kernel, p.bias, packed); !status) return 1;

    const unstride_tensor input = rt::view(p.input, rt::Shape(p.input_shape, p.input_shape + 4));
    const rt::Status refused = layer.run(input, packed.data(), input);
    std::printf("refused: %s: %s\n", refused.name(), refused.message().c_str());
    const rt::Status status = layer.run(input, packed.data(), rt::view(p.output, shape));
    if (!status) std::printf("%s: %s\n", status.name(), status.message().c_str());
    return judge(&p, "C++");
}
